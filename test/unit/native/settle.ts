/** Waiting in the native tests. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ExitStatus, native, POLL_READABLE } from '../../../src/native/index.ts';

/** Looks every few milliseconds until `condition` holds; fails after `limitMs`. */
export async function until(condition: () => boolean, limitMs = 5000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${condition}`);
    await sleep(2);
  }
}

/** Time in which a poller that spins would be caught. */
export const quietMs = 60;

/** Everything up to the end of file, from a non-blocking descriptor, which is then closed. */
export async function readAll(fd: number): Promise<string> {
  const chunks: Buffer[] = [];
  const block = Buffer.alloc(65536);
  await new Promise<void>((resolve) => {
    const poller = new native.Poller(fd, 'level', () => {
      const size = native.read(fd, block, 0, block.length);
      if (size > 0) chunks.push(Buffer.from(block.subarray(0, size)));
      if (size === 0) {
        poller.close();
        resolve();
      }
    });
    poller.interest(POLL_READABLE);
  });
  native.close(fd);
  return Buffer.concat(chunks).toString('latin1');
}

/** Waits for a process through its pidfd, which is then closed. */
export async function exitOf(pidfd: number): Promise<ExitStatus> {
  const status = await new Promise<ExitStatus | null | number>((resolve) => {
    const poller = new native.Poller(pidfd, 'level', () => {
      poller.close();
      resolve(native.waitPidfd(pidfd));
    });
    poller.interest(POLL_READABLE);
  });
  native.close(pidfd);
  if (status === null || typeof status === 'number') throw new Error(`waitPidfd gave ${status}`);
  return status;
}
