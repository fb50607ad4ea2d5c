/** The health log page of an NVMe controller (SMART / Health Information, page 2): NVM Express Base Specification. Pure. */

export const HEALTH_LOG_PAGE = 2;
export const HEALTH_LOG_BYTES = 512;

export interface NvmeHealth {
  criticalWarning: number;
  /** Kelvin. */
  temperature: number;
  /** Per cent, as the next two. */
  availableSpare: number;
  availableSpareThreshold: number;
  percentageUsed: number;
  /** In thousands of 512 bytes. All from here on have 128 bits. */
  dataUnitsRead: bigint;
  dataUnitsWritten: bigint;
  hostReadCommands: bigint;
  hostWriteCommands: bigint;
  /** Minutes. */
  controllerBusyTime: bigint;
  powerCycles: bigint;
  powerOnHours: bigint;
  unsafeShutdowns: bigint;
  mediaErrors: bigint;
  errorLogEntries: bigint;
}

/** @throws {RangeError} if the page is shorter than {@link HEALTH_LOG_BYTES}. */
export function parseNvmeHealth(page: Buffer): NvmeHealth {
  if (page.length < HEALTH_LOG_BYTES) throw new RangeError('a health log page has 512 bytes');
  const counter = (at: number) => page.readBigUInt64LE(at) | (page.readBigUInt64LE(at + 8) << 64n);
  return {
    criticalWarning: page.readUInt8(0),
    temperature: page.readUInt16LE(1),
    availableSpare: page.readUInt8(3),
    availableSpareThreshold: page.readUInt8(4),
    percentageUsed: page.readUInt8(5),
    dataUnitsRead: counter(32),
    dataUnitsWritten: counter(48),
    hostReadCommands: counter(64),
    hostWriteCommands: counter(80),
    controllerBusyTime: counter(96),
    powerCycles: counter(112),
    powerOnHours: counter(128),
    unsafeShutdowns: counter(144),
    mediaErrors: counter(160),
    errorLogEntries: counter(176),
  };
}
