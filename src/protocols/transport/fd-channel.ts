/** Channels on descriptors: connected sockets, and character devices (virtio port, serial line, xenbus). */
import {
  type NativeAddon,
  POLL_HANGUP,
  POLL_READABLE,
  POLL_WRITABLE,
  type Poller,
} from '../../native/index.ts';
import type { Channel, ChannelEvents } from './channel.ts';

const EAGAIN = -11;
const EINTR = -4;

export type ChannelKind =
  /** A read of 0 is the end. */
  | 'socket'
  /**
   * A read of 0 means that no host is connected (virtio port), which is not the end: the same port goes on when the
   * host is back (spec qemu-ga.md section 1).
   */
  | 'device';

/** Takes over `fd`, which must be non-blocking. @throws Error when the kernel cannot poll it. */
export function createFdChannel(native: NativeAddon, fd: number, kind: ChannelKind): Channel {
  const isEdgeTriggered = kind === 'device';
  let events: ChannelEvents | undefined;
  let isOpen = true;
  const poller: Poller = new native.Poller(fd, isEdgeTriggered ? 'edge' : 'level', (bits) => {
    if (bits & (POLL_WRITABLE | POLL_HANGUP)) events?.writable();
    if (isOpen && bits & (POLL_READABLE | POLL_HANGUP)) events?.readable();
  });

  return {
    isEdgeTriggered,
    read(target, start, end) {
      if (!isOpen) return -1;
      const count = native.read(fd, target, start, end);
      if (count > 0) return count;
      if (count === 0) return kind === 'socket' ? -1 : 0;
      return count === EAGAIN || count === EINTR ? 0 : -1;
    },
    write(source, start, end) {
      if (!isOpen) return -1;
      const count = native.write(fd, source, start, end);
      if (count >= 0) return count;
      return count === EAGAIN || count === EINTR ? 0 : -1;
    },
    want(readable, writable) {
      if (isOpen) poller.interest((readable ? POLL_READABLE : 0) | (writable ? POLL_WRITABLE : 0));
    },
    listen(listener) {
      events = listener;
      this.want(true, false);
    },
    close() {
      if (!isOpen) return;
      isOpen = false;
      poller.close();
      native.close(fd);
      // whoever waits for the channel learns from its next call that it has ended
      events?.writable();
      events?.readable();
    },
  };
}
