/** Node's system errors as the kernel's numbers. */

/** The `-errno` of an error that node:fs threw; any other error is a bug and goes on. */
export function negativeErrno(error: unknown): number {
  if (error instanceof Error && 'errno' in error && typeof error.errno === 'number') {
    return -Math.abs(error.errno);
  }
  throw error;
}
