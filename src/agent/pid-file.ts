/**
 * qemu-ga's pid file (spec qemu-ga.md section 7): `PID\n`, mode 0600, removed at exit. qemu-ga locks it; here the process
 * that it names is looked at instead, which also holds after a crash.
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from 'node:fs';

export class PidFileError extends Error {
  override name = 'PidFileError';
}

export interface PidFile {
  /** Removes the file if it is still the one that was written. */
  remove(): void;
}

/** @throws {PidFileError} if the file names a living agent, or holds something else than a process id */
export function writePidFile(path: string, pid: number): PidFile {
  checkPidFile(path);
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (cause) {
    throw new PidFileError(`cannot open the pid file ${path} (${(cause as NodeJS.ErrnoException).code})`, {
      cause,
    });
  }
  try {
    ftruncateSync(fd);
    writeSync(fd, `${pid}\n`);
    const { ino, dev } = fstatSync(fd);
    return {
      remove() {
        const now = lstatSync(path, { throwIfNoEntry: false });
        if (now?.ino === ino && now.dev === dev && readFileSync(path, 'utf8') === `${pid}\n`)
          unlinkSync(path);
      },
    };
  } finally {
    closeSync(fd);
  }
}

/** @throws {PidFileError} as {@link writePidFile} would */
export function checkPidFile(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  const content = stat.isFile() && stat.size < 32 ? readFileSync(path, 'utf8').trim() : null;
  if (content === null || !/^\d*$/.test(content)) {
    throw new PidFileError(`the pid file ${path} holds something else than a process id, it is left alone`);
  }
  const owner = Number(content);
  if (content !== '' && owner !== process.pid && isAgent(owner)) {
    throw new PidFileError(`cannot lock the pid file ${path}: process ${owner} has it`);
  }
}

function isAgent(pid: number): boolean {
  try {
    return /chr-agent|qemu-ga|agent\/main\.ts/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1'));
  } catch {
    return false;
  }
}
