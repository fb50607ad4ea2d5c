/** What the daemon shares between its two kinds of helper processes: reading their lines, and seeing them off. */
import { type NativeAddon, POLL_READABLE } from '../native/addon.ts';

const EAGAIN = 11;
const EINTR = 4;

/** Longer than any line; shared, since every read is used up at once. */
const lineBuffer = Buffer.allocUnsafeSlow(256);

/** Calls back for each line of a stream, then once for its end. Returns the way to stop. */
export function readLines(
  native: Pick<NativeAddon, 'Poller' | 'read'>,
  fd: number,
  onLine: (line: string) => void,
  onEnd: () => void,
): () => void {
  let partial = '';
  const poller = new native.Poller(fd, 'level', () => {
    const got = native.read(fd, lineBuffer, 0, lineBuffer.length);
    if (got === -EAGAIN || got === -EINTR) return;
    if (got <= 0) return onEnd();
    const lines = (partial + lineBuffer.toString('latin1', 0, got)).split('\n');
    partial = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  });
  poller.interest(POLL_READABLE);
  return () => poller.close();
}

/** Waits for a process that is ending, so that it leaves no zombie, and closes its pidfd. */
export function reap(
  native: Pick<NativeAddon, 'Poller' | 'waitPidfd' | 'close'>,
  pidfd: number,
  done: () => void,
): void {
  if (native.waitPidfd(pidfd) !== null) {
    native.close(pidfd);
    return done();
  }
  const poller = new native.Poller(pidfd, 'level', () => {
    if (native.waitPidfd(pidfd) === null) return;
    poller.close();
    native.close(pidfd);
    done();
  });
  poller.interest(POLL_READABLE);
}
