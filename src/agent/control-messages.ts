/**
 * The control socket's messages: a 4-byte big-endian length, then that many bytes of MessagePack (msgpack.org). A request
 * is `{ command }` or `{ command, arguments }`, its reply `{ ok: true, value }` or `{ ok: false, error }`. Shared by daemon and
 * command line.
 */
import type { Packr } from 'msgpackr/pack';
import type { LicenseReport } from '../license/report.ts';
import type { RenewArguments } from '../license/service.ts';
import type { QuiesceStatus } from '../quiesce/quiescer.ts';
import { type HookName, isHookName } from '../scripts/hook-settings.ts';
import type { JobOutcome } from '../scripts/job.ts';
import type { ShaperStatus } from '../shaper/shaper-status.ts';
import type { Status } from './status.ts';

/** Every command and what it answers. */
export interface ControlResults {
  status: Status;
  'freeze-status': QuiesceStatus;
  /** Oldest first. */
  jobs: JobSummary[];
  shaper: ShaperStatus;
  scripts: HookSetting[];
  /** `saved`: whether it is on the disk already; else it will be after the thaw. */
  'scripts-set': { readonly saved: boolean };
  license: LicenseReport;
  'license-renew': null;
  'license-import': null;
  /** The new system id. */
  'license-new-id': string;
}

/** Of the commands that have any. */
interface ArgumentsByCommand {
  'license-renew': RenewArguments;
  /** A token file's contents. */
  'license-import': Uint8Array;
  'scripts-set': { readonly names: readonly HookName[]; readonly enabled: boolean };
}

/** What each command takes; `undefined` is nothing. */
export type ControlArguments = {
  [Command in ControlCommand]: Command extends keyof ArgumentsByCommand
    ? ArgumentsByCommand[Command]
    : undefined;
};

/** How the daemon reads arguments that a client sent. Each returns null for what is none. */
export const ARGUMENT_READERS: {
  readonly [Command in keyof ArgumentsByCommand]: (value: unknown) => ControlArguments[Command] | null;
} = {
  'license-renew': (value) => {
    if (typeof value !== 'object' || value === null) return null;
    const { account, password, level } = value as Readonly<Record<string, unknown>>;
    if (typeof account !== 'string' || typeof level !== 'string' || !(password instanceof Uint8Array))
      return null;
    return { account, password, level };
  },
  'license-import': (value) => (value instanceof Uint8Array ? value : null),
  'scripts-set': (value) => {
    if (typeof value !== 'object' || value === null) return null;
    const { names, enabled } = value as Readonly<Record<string, unknown>>;
    if (!Array.isArray(names) || !names.every(isHookName) || typeof enabled !== 'boolean') return null;
    return { names, enabled };
  },
};

export interface HookSetting {
  readonly name: HookName;
  readonly enabled: boolean;
}

export interface JobSummary {
  readonly pid: number;
  readonly origin: string;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  /** `running`, or the kind of its outcome. */
  readonly state: 'running' | JobOutcome['kind'];
  readonly outputBytes: number;
}
export type ControlCommand = keyof ControlResults;

export type ControlReply =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: string };

/** Of the MessagePack part. */
export const MAX_MESSAGE_BYTES = 1024 * 1024;
const HEADER_BYTES = 4;

/** A message that is no message: its sender cannot be understood any further. */
export class ControlFramingError extends Error {
  override name = 'ControlFramingError';
}

export interface ControlCodec {
  /** @throws {ControlFramingError} above {@link MAX_MESSAGE_BYTES} */
  encode(message: unknown): Buffer;
  /** @throws {ControlFramingError} */
  decode(body: Uint8Array): unknown;
}

let packr: Packr | undefined;

/** Loads msgpackr at the first use: a daemon that nobody asks shall not pay for it. */
export async function controlCodec(): Promise<ControlCodec> {
  if (packr === undefined) {
    const { Packr } = await import('msgpackr/pack');
    packr = new Packr({ useRecords: false, mapsAsObjects: true });
  }
  const codec = packr;
  return {
    encode(message) {
      const body = codec.pack(message);
      if (body.length > MAX_MESSAGE_BYTES) throw new ControlFramingError('message too long');
      const frame = Buffer.allocUnsafe(HEADER_BYTES + body.length);
      frame.writeUInt32BE(body.length);
      frame.set(body, HEADER_BYTES);
      // msgpackr's own buffer, which may hold a password now
      body.fill(0);
      return frame;
    },
    decode(body) {
      try {
        return codec.unpack(body);
      } catch (cause) {
        throw new ControlFramingError('not MessagePack', { cause });
      }
    },
  };
}

/** Collects the pieces of one direction's byte stream into message bodies. */
export class ControlFramer {
  #pieces: Buffer[] = [];
  #sizeBytes = 0;
  /** Of the header, or of header and body once the length is known: nothing is joined before that much is there. */
  #wantedBytes = HEADER_BYTES;

  /**
   * @returns the bodies that are complete now
   * @throws {ControlFramingError} when a length is 0 or too big
   */
  push(piece: Buffer): Buffer[] {
    this.#pieces.push(piece);
    this.#sizeBytes += piece.length;
    const bodies: Buffer[] = [];
    while (this.#sizeBytes >= this.#wantedBytes) {
      const all = this.#join();
      const bodyBytes = all.readUInt32BE(0);
      if (bodyBytes === 0 || bodyBytes > MAX_MESSAGE_BYTES) {
        throw new ControlFramingError(`message length ${bodyBytes} is not within 1 to ${MAX_MESSAGE_BYTES}`);
      }
      const end = HEADER_BYTES + bodyBytes;
      this.#wantedBytes = end;
      if (all.length < end) break;
      this.#wantedBytes = HEADER_BYTES;
      bodies.push(all.subarray(HEADER_BYTES, end));
      this.#pieces = [all.subarray(end)];
      this.#sizeBytes = all.length - end;
    }
    return bodies;
  }

  #join(): Buffer {
    const [first] = this.#pieces;
    if (first !== undefined && this.#pieces.length === 1) return first;
    const all = Buffer.concat(this.#pieces);
    this.#pieces = [all];
    return all;
  }
}
