/** What the tests do with a store, be it the embedded one or C xenstored: play the toolstack, hand out the guest's sockets. */
import { setTimeout as delay } from 'node:timers/promises';
import { native } from '../../src/native/index.ts';
import {
  type Connection,
  type ConnectionOptions,
  connectOver,
} from '../../src/protocols/xenstore/connection.ts';
import type { DomainOptions } from '../../src/protocols/xenstore/store/domain.ts';
import { openTransport } from '../../src/protocols/xenstore/transport.ts';
import { recordingLog } from './quiet-log.ts';

export type { DomainOptions };

export interface TestStore {
  /** Domain 0's socket: `XENSTORED_PATH` of the real clients. */
  readonly toolstackSocket: string;
  /** A connection to it. */
  readonly toolstack: Connection;
  /** Builds and introduces a domain; its sockets are there when this resolves. Resolves with the VM's UUID. */
  domainUp(id: number, options?: DomainOptions): Promise<string>;
  /**
   * Suspends the domain and wakes it up as another one, with a subtree made anew: open guest connections go on, their watches fire.
   * The sockets of the new id are there when this resolves.
   */
  resume(from: number, to: number, options?: DomainOptions): Promise<void>;
  domainDown(id: number): Promise<void>;
  /** Who connects to it is the domain. */
  guestSocket(id: number): string;
  /** The same with the habits of Linux's xenbus device; the embedded store has no such and gives {@link guestSocket}. */
  xenbusSocket(id: number): string;
  stop(): Promise<void>;
}

/** A client of the project's own on a socket. */
export function connectTo(path: string, options: Partial<ConnectionOptions> = {}): Connection {
  const { stream, maxRequestBytes } = openTransport(native, path);
  return connectOver(stream, { log: recordingLog(), maxRequestBytes, ...options });
}

/** Polls until it is true. */
export async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await isTrue()); tries += 1) {
    if (tries > 1_000) throw new Error(`waited in vain: ${what}`);
    await delay(10);
  }
}
