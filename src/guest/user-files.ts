/**
 * Operations on files as one of the guest's users: by a process of the helper (native/helper/files.c has the operations), so that
 * the kernel itself decides what the user may, and a file system that hangs holds up nobody else.
 */
import type { NativeAddon } from '../native/addon.ts';
import type { Login } from './authentication.ts';
import { createProgramRunner } from './program.ts';

export type UserFilesResult =
  | { readonly kind: 'done'; readonly output: readonly string[] }
  /** `second`: it is the second path that is wrong. */
  | { readonly kind: 'failed'; readonly errno: number; readonly isSecond: boolean };

/** @param input what the operation reads. Not while frozen. */
export type UserFiles = (
  login: Pick<Login, 'uid' | 'gid' | 'groups'>,
  operation: readonly [string, ...string[]],
  input?: Uint8Array,
) => Promise<UserFilesResult>;

const LIMIT_MS = 10_000;
const EIO = 5;
const EINVAL = 22;
const ETIMEDOUT = 110;

export function createUserFiles(native: NativeAddon, helperPath: string): UserFiles {
  const run = createProgramRunner(native);
  return async ({ uid, gid, groups }, operation, input) => {
    const failed = (errno: number, isSecond = false) => ({ kind: 'failed', errno, isSecond }) as const;
    if (operation.some((text) => text.includes('\0'))) return failed(EINVAL);
    const args = ['files', '--account', `${uid}:${gid}:${groups.join(',')}`, '--', ...operation];
    const signal = AbortSignal.timeout(LIMIT_MS);
    const result = await run({
      candidates: [helperPath],
      args,
      signal,
      ...(input !== undefined && { input }),
    });
    if (result.kind === 'not-started') return failed(result.errno);
    if (result.kind === 'signaled') return failed(signal.aborted ? ETIMEDOUT : EIO);
    const [word = '', ...output] = result.output.toString().split('\0');
    if (result.code !== 0) return failed(EIO);
    if (word === 'ok') return { kind: 'done', output: output.slice(0, -1) };
    const failure = /^(second-)?error (\d+)$/.exec(word);
    return failure === null ? failed(EIO) : failed(Number(failure[2]), failure[1] !== undefined);
  };
}

export interface FileEntry {
  readonly name: string;
  readonly type: 'f' | 'd' | 'l' | 'o';
  readonly sizeBytes: string;
  readonly modifiedSeconds: string;
  readonly accessedSeconds: string;
  readonly uid: string;
  readonly gid: string;
  /** st_mode, decimal. */
  readonly mode: string;
  /** Of a symbolic link. */
  readonly target: string;
}

/** What `look` and `list` print. A last entry that was cut off is left out. */
export function fileEntries(output: readonly string[]): FileEntry[] {
  const entries: FileEntry[] = [];
  for (let at = 0; at + 2 < output.length; at += 3) {
    const [facts = '', name = '', target = ''] = output.slice(at, at + 3);
    const [type, sizeBytes, modifiedSeconds, accessedSeconds, uid, gid, mode] = facts.split(' ');
    if (type !== 'f' && type !== 'd' && type !== 'l') {
      if (type !== 'o') continue;
    }
    if (!sizeBytes || !modifiedSeconds || !accessedSeconds || !uid || !gid || !mode) continue;
    entries.push({ name, type, sizeBytes, modifiedSeconds, accessedSeconds, uid, gid, mode, target });
  }
  return entries;
}
