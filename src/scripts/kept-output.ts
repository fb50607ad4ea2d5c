/** What a failed script printed, as a file in the files directory, where a host can fetch it. */
import { constants, promises as fs } from 'node:fs';
import type { JobOutput } from './job.ts';

/** Of the output that a failed script leaves behind. */
const MAX_BYTES = 1024 * 1024;

/** Writes the output to a new file in the old one's place. Not while frozen. @throws the errors of node:fs */
export async function keepOutput(path: string, output: JobOutput): Promise<void> {
  await replaceFile(path, await firstBytes(output, MAX_BYTES));
}

/** A new file in the old one's place: a host may put anything into the files directory, also a link. */
export async function replaceFile(path: string, bytes: Buffer): Promise<void> {
  const temporary = `${path}.new`;
  await fs.rm(temporary, { force: true });
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  await fs.writeFile(temporary, bytes, { flag: flags, mode: 0o644 });
  await fs.rename(temporary, path);
}

async function firstBytes(output: JobOutput, limitBytes: number): Promise<Buffer> {
  const bytes = Buffer.alloc(Math.min(output.sizeBytes, limitBytes));
  let at = 0;
  while (at < bytes.length) {
    const got = await output.read(bytes, at, bytes.length, at);
    if (got === 0) break;
    at += got;
  }
  return bytes.subarray(0, at);
}
