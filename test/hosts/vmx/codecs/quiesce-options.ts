/** The binary part of vmbackup.startWithOpts, as a host writes it; vmware.md section 8. */

export interface QuiesceOptions {
  /** Default 1; 2 is for Windows. */
  readonly version?: number;
  readonly createManifest?: boolean;
  readonly quiesceApps?: boolean;
  readonly quiesceFS?: boolean;
  readonly writableSnapshot?: boolean;
  readonly execScripts?: boolean;
  readonly scriptArg?: string;
  /** 0: the guest's default. */
  readonly timeoutSeconds?: number;
  readonly diskUuids?: string;
}

const PRESENT = 1;

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([word(bytes.length), bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}

export function encodeQuiesceOptions(options: QuiesceOptions): Buffer {
  const flag = (value: boolean | undefined) => word(value ? 1 : 0);
  return Buffer.concat([
    word(options.version ?? 1),
    word(PRESENT),
    flag(options.createManifest),
    flag(options.quiesceApps),
    flag(options.quiesceFS),
    flag(options.writableSnapshot),
    flag(options.execScripts),
    text(options.scriptArg ?? ''),
    word(options.timeoutSeconds ?? 0),
    text(options.diskUuids ?? ''),
  ]);
}
