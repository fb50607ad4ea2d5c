/** guest-file-*: files of the guest, read and written by the host (spec qemu-ga.md section 5, Files). */
import { decodeBase64 } from '../base64.ts';
import { QapiError } from '../errors.ts';
import { command } from '../registry.ts';
import { alternate, base64, int, optional, required, str, word } from '../schema.ts';
import type { QgaContext } from './context.ts';

const handle = required(int, 'handle that guest-file-open returned');

/** What one guest-file-read may ask for. */
const MAX_READ_BYTES = 48n * 1024n * 1024n;
const DEFAULT_READ_BYTES = 4096n;

/** whence as a number: lseek's. */
const WHENCE = ['set', 'cur', 'end'] as const;
type Whence = (typeof WHENCE)[number];

function outOfRange(value: bigint, argument: string): QapiError {
  return new QapiError(`value '${value}' is invalid for argument ${argument}`);
}

export const fileCommands = [
  command({
    name: 'guest-file-open',
    since: '0.15',
    doc: 'Opens a file; a relative path is below the files directory (in `upstream`: below the current one).',
    args: {
      path: required(str, 'path of the file'),
      mode: optional(str, 'as for fopen(3): r, w, a, r+, w+, a+, with or without b; default r'),
    },
    returns: 'int: the handle',
    run: ({ path, mode }, { files }: QgaContext) => files.open(path, mode ?? 'r'),
  }),
  command({
    name: 'guest-file-close',
    since: '0.15',
    doc: 'Closes a handle.',
    args: { handle },
    returns: 'nothing',
    run: async (args, { files }: QgaContext) => {
      await files.close(args.handle);
      return undefined;
    },
  }),
  command({
    name: 'guest-file-read',
    since: '0.15',
    frequent: true,
    doc: 'Reads from the current position.',
    args: { handle, count: optional(int, 'bytes to read, up to 48 MiB; default 4096') },
    returns: '{count, buf-b64, eof}',
    run: (args, { files }: QgaContext) => {
      const file = files.get(args.handle);
      const count = args.count ?? DEFAULT_READ_BYTES;
      if (count < 0n || count > MAX_READ_BYTES) throw outOfRange(count, 'count');
      const read = file.read(Number(count));
      return { 'buf-b64': read, count: () => read.count, eof: () => read.metEnd };
    },
  }),
  command({
    name: 'guest-file-write',
    since: '0.15',
    frequent: true,
    doc: 'Writes at the current position.',
    args: {
      handle,
      'buf-b64': required(base64, 'the bytes'),
      count: optional(int, 'how many of them to write; default all'),
    },
    returns: '{count, eof}',
    run: async (args, { files, native }: QgaContext) => {
      const file = files.get(args.handle);
      const bytes = await decodeBase64(args['buf-b64'], native);
      const count = args.count ?? BigInt(bytes.length);
      if (count < 0n || count > BigInt(bytes.length)) throw outOfRange(count, 'count');
      await file.write(bytes.subarray(0, Number(count)));
      return { count, eof: false };
    },
  }),
  command({
    name: 'guest-file-seek',
    since: '0.15',
    frequent: true,
    doc: 'Moves the current position.',
    args: {
      handle,
      offset: required(int, 'bytes, may be negative'),
      whence: required(
        alternate<Whence | bigint>('GuestFileWhence', { string: word(...WHENCE), integer: int }),
        'from where: the start (0), the current position (1), the end (2)',
      ),
    },
    returns: '{position, eof}',
    run: ({ handle: id, offset, whence }, { files }: QgaContext) => {
      const file = files.get(id);
      const code = typeof whence === 'bigint' ? Number(whence) : WHENCE.indexOf(whence);
      if (WHENCE[code] === undefined) throw new QapiError(`invalid whence code ${code}`);
      return { position: file.seek(offset, code), eof: false };
    },
  }),
  command({
    name: 'guest-file-flush',
    since: '0.15',
    frequent: true,
    doc: 'Nothing is held back, so this only checks the handle.',
    args: { handle },
    returns: 'nothing',
    run: (args, { files }: QgaContext) => {
      files.get(args.handle);
      return undefined;
    },
  }),
];
