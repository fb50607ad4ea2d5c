/**
 * The stream to the store: Linux's xenbus device, or the socket of a xenstored (spec/xenstore.md section 3). The device is opened
 * non-blocking and watched by an edge-triggered poller: it never tells that it can be written, which needs no telling, and no read
 * is ever left waiting inside of the kernel, where it would hold up the end of the process.
 */
import { type Stats, statSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import type { NativeAddon } from '../../native/index.ts';
import { createFdChannel } from '../transport/fd-channel.ts';
import { channelDuplex } from '../transport/fd-duplex.ts';
import { DEVICE_MESSAGE_BYTES } from './connection.ts';
import { HEADER_BYTES, MAX_PAYLOAD_BYTES } from './wire.ts';

export const DEVICE_PATHS: readonly string[] = ['/dev/xen/xenbus', '/proc/xen/xenbus'];

export interface Transport {
  readonly stream: Duplex;
  readonly path: string;
  readonly maxRequestBytes: number;
}

export class XenstoreTransportError extends Error {
  override name = 'XenstoreTransportError';
}

/**
 * Opens the store at `path`, a device or a socket; null: the first of {@link DEVICE_PATHS} that is there. Does not wait.
 * @throws {XenstoreTransportError} what is missing or refused, as one line
 */
export function openTransport(native: NativeAddon, path: string | null): Transport {
  const found = path ?? DEVICE_PATHS.find(exists);
  if (found === undefined) throw new XenstoreTransportError(`there is neither ${DEVICE_PATHS.join(' nor ')}`);
  return isSocket(found) ? openSocket(native, found) : openDevice(native, found);
}

function openSocket(native: NativeAddon, path: string): Transport {
  const fd = native.connectUnix(path);
  if (fd < 0) throw new XenstoreTransportError(`cannot connect to ${path}: ${native.errorText(-fd)}`);
  return {
    stream: channelDuplex(createFdChannel(native, fd, 'socket')),
    path,
    maxRequestBytes: HEADER_BYTES + MAX_PAYLOAD_BYTES,
  };
}

function openDevice(native: NativeAddon, path: string): Transport {
  const fd = native.openDevice(path);
  if (fd < 0) throw new XenstoreTransportError(`cannot open ${path}: ${native.errorText(-fd)}`);
  try {
    return {
      stream: channelDuplex(createFdChannel(native, fd, 'device')),
      path,
      maxRequestBytes: DEVICE_MESSAGE_BYTES,
    };
  } catch (error) {
    native.close(fd);
    throw new XenstoreTransportError(`${path} is no xenbus device: ${String(error)}`);
  }
}

function exists(path: string): boolean {
  return statOf(path) !== undefined;
}

function isSocket(path: string): boolean {
  return statOf(path)?.isSocket() === true;
}

/** undefined also for what may not be looked at: to open it will tell why. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
