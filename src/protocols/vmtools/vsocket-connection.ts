/** Connecting to the host's vsocket services, with the privilege that a low port of ours gives (spec vmware.md section 13). */
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { type NativeAddon, POLL_WRITABLE } from '../../native/index.ts';
import { createFdChannel } from '../transport/fd-channel.ts';
import { channelDuplex } from '../transport/fd-duplex.ts';
import type { VsocketConnector } from './host-link.ts';

const RPCI_PORT = 976;
const TCLO_PORT = 975;
const HYPERVISOR = 0;

const FIRST_LOW_PORT = 1023;
const LAST_LOW_PORT = 1;
const MAX_RESETS = 8;
const MAX_NO_BUFFERS = 5;
const NO_BUFFERS_PAUSE_MS = 1;
/** A host in the same machine answers in milliseconds; where nobody does, the backdoor must not wait long. */
const CONNECT_LIMIT_MS = 1_000;

const EACCES = -13;
const EADDRINUSE = -98;
const ECONNRESET = -104;
const ENOBUFS = -105;
const ETIMEDOUT = -110;

/** One attempt from this local port (null: any): a connected descriptor, or -errno. */
export type ConnectAttempt = (localPort: number | null) => Promise<number>;

/** @param cid where the host is: the hypervisor, except in tests */
export function vsocketConnector(native: NativeAddon, cid = HYPERVISOR): VsocketConnector {
  return (service) => connectVsocket(native, cid, service);
}

/** null where the host does not offer the service. */
async function connectVsocket(
  native: NativeAddon,
  cid: number,
  service: 'rpci' | 'tclo',
): Promise<Duplex | null> {
  const port = service === 'rpci' ? RPCI_PORT : TCLO_PORT;
  const attempt: ConnectAttempt = (localPort) =>
    finishConnect(
      native,
      localPort === null ? native.connectVsock(cid, port) : native.connectVsockFrom(localPort, cid, port),
    );
  const fd = service === 'rpci' ? await connectPrivileged(attempt) : await attempt(null);
  return fd < 0 ? null : channelDuplex(createFdChannel(native, fd, 'socket'));
}

/** Counts down the low ports until one connects; without the right to them any port will do. */
export async function connectPrivileged(attempt: ConnectAttempt): Promise<number> {
  let resets = 0;
  let noBuffers = 0;
  for (let port = FIRST_LOW_PORT; port >= LAST_LOW_PORT; ) {
    const result = await attempt(port);
    switch (result) {
      case EADDRINUSE:
        port -= 1;
        break;
      case ECONNRESET:
        resets += 1;
        if (resets > MAX_RESETS) return result;
        port -= 1;
        break;
      case ENOBUFS:
        noBuffers += 1;
        if (noBuffers > MAX_NO_BUFFERS) return result;
        await delay(NO_BUFFERS_PAUSE_MS);
        break;
      case EACCES:
        return attempt(null);
      default:
        return result;
    }
  }
  return EADDRINUSE;
}

/** Waits for a descriptor that has begun to connect; closes it if that fails. */
export function finishConnect(
  native: Pick<NativeAddon, 'Poller' | 'socketError' | 'close'>,
  fd: number,
  limitMs = CONNECT_LIMIT_MS,
): Promise<number> {
  if (fd < 0) return Promise.resolve(fd);
  return new Promise((resolve) => {
    const poller = new native.Poller(fd, 'level', () => settle(native.socketError(fd)));
    const timer = setTimeout(() => settle(ETIMEDOUT), limitMs);
    poller.interest(POLL_WRITABLE);

    function settle(error: number): void {
      clearTimeout(timer);
      poller.close();
      if (error < 0) native.close(fd);
      resolve(error < 0 ? error : fd);
    }
  });
}
