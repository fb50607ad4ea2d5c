/** Operations on files in the `upstream` profile, as open-vm-tools serves them (spec vmware.md sections 7.4 and 7.7). */
import type { FreezeGate } from '../../../guest/freeze-gate.ts';
import { type FileEntry, fileEntries, type UserFiles } from '../../../guest/user-files.ts';
import * as bodies from './bodies.ts';
import { failureOfErrno, VIX, VixFailure } from './errors.ts';
import { OPCODE } from './opcodes.ts';
import type { Operation, Operations, VixCall } from './operations.ts';
import { escapeValue } from './results.ts';
import { privateDirectory } from './upstream-programs.ts';

const ENOENT = 2;
/** Of the entries of one list; the rest is asked for by its index. */
const LIST_BYTES = 60_000;

/** Which of the attributes count, as bits of their options. */
const SET_ACCESS_TIME = 1;
const SET_MODIFICATION_TIME = 2;
/** Read-only and hidden are Windows'. */
const SET_OF_WINDOWS = 4 | 8;
const SET_OWNER = 0x10;
const SET_GROUP = 0x20;
const SET_PERMISSIONS = 0x40;

export function upstreamFiles(options: { readonly files: UserFiles; readonly gate: FreezeGate }): Operations {
  const { gate } = options;

  /** What the operation prints. @throws {VixFailure} */
  async function ask(
    { login }: VixCall,
    ...operation: readonly [string, ...string[]]
  ): Promise<readonly string[]> {
    const user = await login();
    const result = await gate.pass(() => options.files(user, operation));
    if (result.kind === 'done') return result.output;
    throw failureOfErrno(result.errno);
  }

  /** Of a path; null: there is none, or it cannot be seen. */
  async function look(call: VixCall, path: string): Promise<FileEntry | null> {
    try {
      return fileEntries(await ask(call, 'look', path))[0] ?? null;
    } catch (error) {
      if (error instanceof VixFailure && error.osError !== 0) return null;
      throw error;
    }
  }

  const isThere =
    (types: string): Operation =>
    async (call) => {
      const entry = await look(call, bodies.path(call.request));
      return entry !== null && types.includes(entry.type) ? '1' : '0';
    };

  const deleteFile: Operation = async (call) => {
    await ask(call, 'delete-file', bodies.path(call.request));
    return '';
  };

  const temporary =
    (operation: 'temporary-file' | 'temporary-directory'): Operation =>
    async (call) => {
      const { prefix, suffix, directory } = bodies.temporary(call.request);
      if (prefix.includes('/') || suffix.includes('/')) throw new VixFailure(VIX.INVALID_ARG);
      const login = await call.login();
      const place = directory || (await gate.pass(() => privateDirectory(options.files, login)));
      const same = { ...call, login: async () => login };
      const [path = ''] = await ask(same, operation, place, prefix, suffix);
      return escapeValue(path);
    };

  return {
    [OPCODE.FILE_EXISTS]: isThere('flo'),
    [OPCODE.DIRECTORY_EXISTS]: isThere('d'),
    [OPCODE.DELETE_FILE]: deleteFile,
    [OPCODE.DELETE_FILE_EX]: deleteFile,
    async [OPCODE.GET_FILE_INFO](call) {
      const entry = await look(call, bodies.path(call.request));
      if (entry === null) throw failureOfErrno(ENOENT);
      const flags = entry.type === 'd' ? 1 : entry.type === 'l' ? 2 : 0;
      return `<FileInfo><Name></Name><FileFlags>${flags}</FileFlags><FileSize>${entry.type === 'd' ? 0 : entry.sizeBytes}</FileSize><ModTime>${entry.modifiedSeconds}</ModTime></FileInfo>`;
    },
    async [OPCODE.LIST_FILES](call) {
      const { path, pattern, index, max } = bodies.listFiles(call.request);
      return listing(sorted(fileEntries(await ask(call, 'list', path, pattern))), index, max);
    },
    async [OPCODE.CREATE_DIRECTORY](call) {
      const { path, withOthers } = bodies.directory(call.request);
      await ask(call, 'make-directory', path, withOthers ? '1' : '0');
      return '';
    },
    async [OPCODE.DELETE_DIRECTORY](call) {
      const { path, withOthers } = bodies.directory(call.request);
      await ask(call, 'delete-directory', path, withOthers ? '1' : '0');
      return '';
    },
    async [OPCODE.MOVE_FILE](call) {
      const { from, to, overwrite } = bodies.move(call.request);
      await ask(call, 'move-file', from, to, overwrite ? '1' : '0');
      return '';
    },
    async [OPCODE.MOVE_DIRECTORY](call) {
      const { from, to } = bodies.move(call.request);
      await ask(call, 'move-directory', from, to);
      return '';
    },
    [OPCODE.CREATE_TEMPORARY_FILE]: temporary('temporary-file'),
    [OPCODE.CREATE_TEMPORARY_DIRECTORY]: temporary('temporary-directory'),
    async [OPCODE.SET_FILE_ATTRIBUTES](call) {
      const attributes = bodies.fileAttributes(call.request);
      const { options: set, path, owner, group, permissions } = attributes;
      if ((set & SET_OF_WINDOWS) !== 0) throw new VixFailure(VIX.INVALID_ARG);
      const value = (bit: number, number: number | bigint): string =>
        (set & bit) === 0 ? '-' : String(number);
      await ask(
        call,
        'attributes',
        path,
        value(SET_ACCESS_TIME, attributes.accessTime),
        value(SET_MODIFICATION_TIME, attributes.modificationTime),
        value(SET_OWNER, owner >>> 0),
        value(SET_GROUP, group >>> 0),
        value(SET_PERMISSIONS, permissions >>> 0),
      );
      return '';
    },
  };
}

/** By name, so that an index means the same in the next call; `.` and `..` go first. */
function sorted(entries: FileEntry[]): FileEntry[] {
  const rank = ({ name }: FileEntry): number => ['.', '..'].indexOf(name) + 1 || 3;
  return entries.sort(
    (left, right) =>
      rank(left) - rank(right) || Buffer.compare(Buffer.from(left.name), Buffer.from(right.name)),
  );
}

/** From the entry at the index on, as many as are wanted and fit. Exported for tests. */
export function listing(entries: readonly FileEntry[], index: number, max: number): string {
  let text = '';
  let count = 0;
  let isCut = false;
  for (const entry of entries.slice(index, index + max)) {
    const next = fileElement(entry);
    isCut = Buffer.byteLength(text) + Buffer.byteLength(next) > LIST_BYTES;
    if (isCut) break;
    text += next;
    count += 1;
  }
  const left = Math.max(0, entries.length - index - count);
  return `${isCut ? 1 : 0} <rem>${left}</rem>${text}`;
}

function fileElement(entry: FileEntry): string {
  const { name, type, sizeBytes, modifiedSeconds, accessedSeconds, uid, gid, mode, target } = entry;
  const number = type === 'd' ? 1 : type === 'l' ? 2 : 0;
  const size = type === 'f' || type === 'o' ? sizeBytes : 0;
  return (
    `<fxi><Name>${escapeValue(name)}</Name><ft>${number}</ft><fs>${size}</fs><mt>${modifiedSeconds}</mt>` +
    `<at>${accessedSeconds}</at><uid>${uid}</uid><gid>${gid}</gid><perm>${mode}</perm><slt>${escapeValue(target)}</slt></fxi>`
  );
}
