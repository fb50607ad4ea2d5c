/**
 * Tells the host, and tells it only what it does not know yet; in an older form where it refuses the newest (spec vmware.md
 * sections 6.3 to 6.8).
 */
import { RpcRefused } from '../channel-errors.ts';
import type { Rpci } from '../rpc.ts';
import { encodeDiskJson, encodeDiskList, type ReportedDisk } from './disks.ts';
import { cutAddresses, encodeNicsV1, encodeNicsV2, encodeNicsV3, type NicReport } from './nics.ts';
import { encodeOsDetails, type OsNames } from './os.ts';

/** Types of SetGuestInfo. */
export const TYPE = {
  hostName: 1,
  nicsV1: 2,
  disks: 3,
  build: 4,
  fullName: 5,
  shortName: 6,
  uptime: 7,
  statistics: 8,
  nics: 9,
  nicsV3: 10,
  osDetails: 11,
} as const;

/** Each rejects with ChannelLost if there is no host to be had. A refusal is none: it comes again with the next report. */
export interface Sender {
  text(type: number, text: string): Promise<void>;
  binary(type: number, value: Buffer): Promise<void>;
  /** @param details null: only the names are told */
  os(names: OsNames, details: string | null): Promise<void>;
  disks(disks: readonly ReportedDisk[]): Promise<void>;
  nics(report: NicReport): Promise<void>;
  /** The host has lost what it was told. */
  forget(): void;
}

const NIC_FORMS: readonly { type: number; encode(report: NicReport): Buffer }[] = [
  { type: TYPE.nicsV3, encode: encodeNicsV3 },
  { type: TYPE.nics, encode: (report) => encodeNicsV3(cutAddresses(report)) },
  { type: TYPE.nics, encode: encodeNicsV2 },
  { type: TYPE.nicsV1, encode: encodeNicsV1 },
];

export function createSender(rpci: Pick<Rpci, 'request'>): Sender {
  /** What the host has taken, by what it is about. */
  let known = new Map<string, Buffer>();
  let areDetailsRefused = false;
  /** Until the agent ends. */
  let isDiskJsonRefused = false;
  let nicForm = 0;

  /** Whether the host knows it then. Two blanks: the second is what the host splits by. */
  const tell = (type: number, value: string | Buffer) => {
    const head = `SetGuestInfo  ${type} `;
    const message = typeof value === 'string' ? head + value : Buffer.concat([Buffer.from(head), value]);
    return once(String(type), Buffer.from(value), message);
  };

  async function once(about: string, value: Buffer, message: string | Buffer): Promise<boolean> {
    const memory = known;
    if (memory.get(about)?.equals(value)) return true;
    memory.delete(about);
    if (!(await isTaken(message))) return false;
    // of the memory that held when it was sent: a reset on the way makes another
    memory.set(about, value);
    return true;
  }

  async function isTaken(message: string | Buffer): Promise<boolean> {
    try {
      return (await rpci.request(message)).length === 0;
    } catch (error) {
      if (error instanceof RpcRefused) return false;
      throw error;
    }
  }

  return {
    async text(type, text) {
      await tell(type, text);
    },
    async binary(type, value) {
      await tell(type, value);
    },
    async os(names, details) {
      if (details !== null && !areDetailsRefused) {
        if (await tell(TYPE.osDetails, encodeOsDetails(names, details))) return;
        areDetailsRefused = true;
      }
      await tell(TYPE.fullName, names.fullName);
      await tell(TYPE.shortName, names.shortName);
    },
    async disks(disks) {
      if (!isDiskJsonRefused) {
        const json = encodeDiskJson(disks);
        if (await once('disks', Buffer.from(json), `SetGuestDiskInfo ${json}`)) return;
        isDiskJsonRefused = true;
      }
      await tell(TYPE.disks, encodeDiskList(disks));
    },
    async nics(report) {
      const memory = known;
      const value = encodeNicsV3(report);
      if (memory.get('nics')?.equals(value)) return;
      memory.delete('nics');
      for (const [form, { type, encode }] of NIC_FORMS.entries()) {
        if (form < nicForm) continue;
        if (!(await isTaken(Buffer.concat([Buffer.from(`SetGuestInfo  ${type} `), encode(report)]))))
          continue;
        memory.set('nics', value);
        nicForm = form;
        return;
      }
      nicForm = 0;
    },
    forget() {
      known = new Map();
      areDetailsRefused = false;
      nicForm = 0;
    },
  };
}
