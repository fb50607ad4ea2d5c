/**
 * Endpoints: where channels come from. A device is opened, waited for while it is missing, and opened again when it fails; a
 * listening socket serves one client at a time, others wait in its backlog (spec qemu-ga.md section 1).
 */
import { lstatSync, unlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Log } from '../../log.ts';
import { type NativeAddon, POLL_READABLE } from '../../native/index.ts';
import type { Channel } from './channel.ts';
import { createFdChannel } from './fd-channel.ts';

type DeviceAddress = { method: 'virtio-serial'; path: string } | { method: 'isa-serial'; path: string };
type ListenerAddress =
  | { method: 'unix-listen'; path: string }
  | { method: 'vsock-listen'; cid: number; port: number }
  /** A listening socket that systemd handed over. */
  | { method: 'activated'; fd: number };
export type EndpointAddress = DeviceAddress | ListenerAddress;

/** `open`: a client is being served; a device is only `listening`, since whether a host is there cannot be told. */
export type EndpointState = 'waiting' | 'listening' | 'open' | 'failed';

export interface EndpointOptions {
  native: NativeAddon;
  log: Log;
  signal: AbortSignal;
  /** Serves one channel until it ends. */
  serve(channel: Channel): Promise<void>;
  onState(state: EndpointState, detail: string): void;
  /** false: a device that is missing or fails ends the endpoint (qemu-ga without --retry-path). */
  retries?: boolean;
}

/** qemu-ga's pause before it opens a device again (spec section 1). */
const RETRY_MS = 5_000;
/** One client waits while another is served, as with qemu-ga. */
const BACKLOG = 1;

export class EndpointError extends Error {
  override name = 'EndpointError';
}

/** Runs an endpoint until the signal ends it. @throws {EndpointError} when it cannot be set up and does not retry. */
export async function runEndpoint(address: EndpointAddress, options: EndpointOptions): Promise<void> {
  if (address.method === 'virtio-serial' || address.method === 'isa-serial') {
    await runDevice(address.path, address.method === 'isa-serial', options);
    return;
  }
  await runListener(listen(address, options.native), describeAddress(address), options);
}

export function describeAddress(address: EndpointAddress): string {
  switch (address.method) {
    case 'vsock-listen':
      return `vsock ${address.cid}:${address.port}`;
    case 'activated':
      return `descriptor ${address.fd}`;
    default:
      return address.path;
  }
}

async function runDevice(path: string, isTty: boolean, options: EndpointOptions): Promise<void> {
  const { native, log, signal, onState, retries = true } = options;
  let lastProblem = '';
  while (!signal.aborted) {
    const fd = openDevice(native, path, isTty);
    if (fd < 0) {
      const problem = `cannot open ${path}: ${native.errorText(-fd)}`;
      if (!retries) throw new EndpointError(problem);
      // once per kind of failure: a device that is not there for years must not fill the log
      if (problem !== lastProblem) log.warning(`${problem}; waiting for it`);
      lastProblem = problem;
      onState('waiting', problem);
    } else {
      lastProblem = '';
      onState('listening', path);
      log.info(`serving ${path}`);
      await serveUntil(createFdChannel(native, fd, 'device'), options);
      if (signal.aborted) return;
      if (!retries) return;
      log.warning(`${path} failed; opening it again`);
      onState('waiting', `${path} failed`);
    }
    await pause(RETRY_MS, signal);
  }
}

function openDevice(native: NativeAddon, path: string, isTty: boolean): number {
  const fd = native.openDevice(path);
  if (fd < 0 || !isTty) return fd;
  const result = native.makeRaw(fd);
  if (result < 0) native.close(fd);
  return result < 0 ? result : fd;
}

async function serveUntil(channel: Channel, { serve, signal }: EndpointOptions): Promise<void> {
  const stop = () => channel.close();
  signal.addEventListener('abort', stop, { once: true });
  try {
    await serve(channel);
  } finally {
    signal.removeEventListener('abort', stop);
    channel.close();
  }
}

function listen(address: ListenerAddress, native: NativeAddon): number {
  if (address.method === 'activated') return address.fd;
  if (address.method === 'unix-listen') removeOldSocket(address.path);
  const fd =
    address.method === 'unix-listen'
      ? native.listenUnix(address.path, BACKLOG)
      : native.listenVsock(address.cid, address.port, BACKLOG);
  if (fd < 0)
    throw new EndpointError(`cannot listen on ${describeAddress(address)}: ${native.errorText(-fd)}`);
  return fd;
}

/** Unlinks what an earlier run left, but only a socket: anything else at the path is a mistake in the configuration. */
function removeOldSocket(path: string): void {
  if (path === '') throw new EndpointError('the path to listen on is empty');
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new EndpointError(`cannot listen on ${path}: something is there that is no socket`);
  unlinkSync(path);
}

function runListener(fd: number, name: string, options: EndpointOptions): Promise<void> {
  const { native, log, signal, onState } = options;
  return new Promise((resolve) => {
    const poller = new native.Poller(fd, 'level', acceptOne);
    signal.addEventListener('abort', stop, { once: true });
    waitForClient();

    function waitForClient(): void {
      onState('listening', name);
      poller.interest(POLL_READABLE);
    }

    function acceptOne(): void {
      const client = native.accept(fd);
      if (client < 0) return; // it is gone already
      poller.interest(0);
      onState('open', name);
      serveUntil(createFdChannel(native, client, 'socket'), options)
        .catch((error: unknown) => log.error(`a client of ${name} ended with an error: ${String(error)}`))
        .finally(() => {
          if (!signal.aborted) waitForClient();
        });
    }

    function stop(): void {
      poller.close();
      native.close(fd);
      resolve();
    }
  });
}

async function pause(timeMs: number, signal: AbortSignal): Promise<void> {
  await delay(timeMs, undefined, { signal }).catch(() => undefined);
}
