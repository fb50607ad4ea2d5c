/** Reads a pipe that a script or program writes to into its output, without holding up the event loop. */
import { type NativeAddon, POLL_READABLE, type Poller } from '../native/addon.ts';
import type { FillResult, Output } from './output.ts';

/**
 * What may still lie in a pipe when its writer has ended: the most that an unprivileged one can make it hold. A background
 * process that goes on writing cannot keep a job from ending longer than this.
 */
const LARGEST_PIPE_BYTES = 1024 * 1024;

export interface PipeReader {
  /** Resolves when the pipe is at its end, drained or closed; its descriptor is closed then. */
  readonly ended: Promise<void>;
  /** Takes what was written up to now, then closes the pipe. */
  drain(): Promise<void>;
  /** Closes the pipe without reading on. */
  close(): void;
}

/** Takes over the descriptor `fd`. @throws what the Poller throws; the descriptor is closed then. */
export function readPipe(
  native: Pick<NativeAddon, 'Poller' | 'read' | 'close'>,
  fd: number,
  output: Output,
): PipeReader {
  const ended = Promise.withResolvers<void>();
  /** Bytes that may be read once the pipe is being drained. */
  let drainBytes = Number.POSITIVE_INFINITY;
  let draining = false;
  let closed = false;
  /** The fill under way, if the output has to spill. */
  let filling: Promise<void> | null = null;
  let poller: Poller;
  try {
    poller = new native.Poller(fd, 'level', () => {
      if (filling === null && !draining) advance();
    });
  } catch (error) {
    native.close(fd);
    throw error;
  }
  poller.interest(POLL_READABLE);

  function read(buffer: Uint8Array, start: number, end: number): number {
    if (closed) return 0;
    const got = native.read(fd, buffer, start, Math.min(end, start + drainBytes));
    if (got > 0) drainBytes -= got;
    return got;
  }

  function close(): void {
    if (closed) return;
    closed = true;
    poller.close();
    native.close(fd);
    ended.resolve();
  }

  function fill(): FillResult | Promise<FillResult> {
    const result = output.fill(read);
    if (typeof result === 'string') return result;
    poller.interest(0);
    return result.then((last) => {
      filling = null;
      if (!closed && !draining) poller.interest(POLL_READABLE);
      return last;
    });
  }

  /** One share of what is there; the poller comes back for more. */
  function advance(): void {
    const result = fill();
    if (typeof result !== 'string') filling = result.then((last) => void (last === 'end' && close()));
    else if (result === 'end') close();
  }

  return {
    ended: ended.promise,
    async drain() {
      draining = true;
      poller.interest(0);
      await filling;
      if (closed) return;
      drainBytes = LARGEST_PIPE_BYTES;
      for (;;) {
        const result = fill();
        const last = typeof result === 'string' ? result : await result;
        // a read of nothing at the limit counts as the end too
        if (last !== 'more') break;
      }
      close();
    },
    close,
  };
}
