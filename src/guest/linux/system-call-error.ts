/** A system call on a path that the kernel refused, as a typed error: facts throw it, and each protocol words it. */

export class SystemCallError extends Error {
  override name = 'SystemCallError';
  /** `open`, `read`, `write`, `opendir` … */
  readonly call: string;
  readonly path: string;
  /** Positive; 0 for a file that ended too early. */
  readonly errno: number;

  constructor(call: string, path: string, errno: number) {
    super(`${call} ${path}: errno ${errno}`);
    this.call = call;
    this.path = path;
    this.errno = errno;
  }
}

/** The SystemCallError of what node:fs threw; one that is one already, or an error that is a bug, comes back as it is. */
export function asSystemCallError(error: unknown, path: string): unknown {
  if (error instanceof SystemCallError) return error;
  if (!(error instanceof Error && 'errno' in error && typeof error.errno === 'number')) return error;
  const call = 'syscall' in error && typeof error.syscall === 'string' ? error.syscall : 'open';
  return new SystemCallError(call, path, Math.abs(error.errno));
}

export function isSystemCallError(error: unknown, errno: number): error is SystemCallError {
  return error instanceof SystemCallError && error.errno === errno;
}
