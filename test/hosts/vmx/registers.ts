/** The registers of a backdoor call and the names of their values; vmware.md sections 1.2 to 1.4 and 2. */

/**
 * What a call passes in and gets back. In low-bandwidth calls every value is one of 32 bits; in high-bandwidth calls `si`
 * (guest to host) or `di` (host to guest) is an address.
 */
export interface Registers {
  readonly ax: number;
  readonly bx: number;
  readonly cx: number;
  readonly dx: number;
  readonly si: number;
  readonly di: number;
  readonly bp: number;
}

export const MAGIC = 0x564d5868;
export const PORT_LOW = 0x5658;
export const PORT_HIGH = 0x5659;
/** EAX after a command that the host doesn't know. */
export const UNKNOWN_COMMAND = 0xffffffff;

export const COMMAND = {
  GETMHZ: 1,
  GETVERSION: 10,
  GETGUIOPTIONS: 13,
  SETGUIOPTIONS: 14,
  GETUUID: 19,
  GETTIME: 23,
  STOPCATCHUP: 24,
  MESSAGE: 30,
  GETHZ: 45,
  GETTIMEFULL: 46,
  GETTIMEFULL_WITH_LAG: 55,
  GET_VCPU_INFO: 68,
} as const;

/** Status of a message step, in the high half of ECX (EBX in high-bandwidth calls). */
export const STATUS = {
  SUCCESS: 0x0001,
  DORECV: 0x0002,
  CLOSED: 0x0004,
  UNSENT: 0x0008,
  CPT: 0x0010,
  POWEROFF: 0x0020,
  TIMEOUT: 0x0040,
  HB: 0x0080,
} as const;

/** Bit of GETGUIOPTIONS: the host wants the guest's clock synchronised. */
export const GUI_OPTION_TIME_SYNC = 0x400;

export const lowHalf = (value: number): number => value & 0xffff;
export const highHalf = (value: number): number => (value >>> 16) & 0xffff;
/** A register of 32 bits from two halves. */
export const halves = (high: number, low: number): number => (((high & 0xffff) << 16) | (low & 0xffff)) >>> 0;
