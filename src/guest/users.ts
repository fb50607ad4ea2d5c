/** Who is logged in: utmp(5). Distributions that no longer have it (64-bit time) show nobody. */
import { join } from 'node:path';
import { readRegularFile } from './linux/regular-file.ts';
import { isSystemCallError } from './linux/system-call-error.ts';
import { parseLoginRecords } from './linux/utmp.ts';

export interface LoggedInUser {
  name: string;
  /** Of the earliest session that lasts. Seconds since 1970 UTC with a fraction. */
  loginTimeSeconds: number;
}

/** More than 10,000 sessions. */
const MAX_UTMP_BYTES = 4 * 1024 * 1024;
const ENOENT = 2;

/** Each user once, in the order of their first records. @throws {SystemCallError} */
export async function loggedInUsers(root = '/'): Promise<LoggedInUser[]> {
  const earliest = new Map<string, number>();
  for (const { user, loginTimeSeconds } of parseLoginRecords(await readUtmp(root))) {
    earliest.set(user, Math.min(loginTimeSeconds, earliest.get(user) ?? loginTimeSeconds));
  }
  return [...earliest].map(([name, loginTimeSeconds]) => ({ name, loginTimeSeconds }));
}

async function readUtmp(root: string): Promise<Buffer> {
  try {
    return await readRegularFile(join(root, 'var/run/utmp'), { maxBytes: MAX_UTMP_BYTES });
  } catch (error) {
    if (isSystemCallError(error, ENOENT)) return Buffer.alloc(0);
    throw error;
  }
}
