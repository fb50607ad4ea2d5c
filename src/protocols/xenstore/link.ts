/**
 * The store for the daemon's life: opens a transport, opens it again when it fails, and gives every new connection the watches that
 * stand (spec/xenstore.md sections 3 and 7).
 *
 * While there is no connection requests and transactions reject at once with {@link XenstoreGone}; nothing is kept for later, since
 * who asks gets a call back from its watches as soon as there is a connection and can tell then what is still worth asking.
 * A watch is kept: it resolves at once and stands from the next connection on.
 */
import type { Log } from '../../log.ts';
import { type Connection, connectOver } from './connection.ts';
import type { Transport } from './transport.ts';
import { type Watch, type Xenstore, XenstoreError, XenstoreGone } from './xenstore.ts';

export type LinkState = 'waiting' | 'connected';

export interface LinkOptions {
  readonly log: Log;
  /** Opens the transport; what it throws is the reason that is logged. */
  open(): Transport;
  /** `detail` is one line: the transport's path, or why there is no connection. */
  onState(state: LinkState, detail: string): void;
  readonly firstPauseMs?: number;
  readonly longestPauseMs?: number;
  readonly answerTimeoutMs?: number;
  /** A clock that does not jump, in ms. */
  readonly now?: () => number;
}

export interface XenstoreLink extends Xenstore {
  /** Ends the connection and makes no other. What is pending rejects with {@link XenstoreGone}. */
  stop(): void;
}

/** A watch that its owner has not closed. */
interface Registration {
  readonly path: string;
  readonly onEvent: (path: string) => void;
  /** On the present connection, once it stands there. */
  standing: Watch | null;
}

interface Connected {
  readonly is: 'connected';
  readonly connection: Connection;
  readonly path: string;
  readonly sinceMs: number;
}
type State = Connected | { is: 'waiting'; timer: NodeJS.Timeout } | { is: 'stopped' };

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;
/** A peer that sends garbage has a new text each time. */
const MAX_LOGGED = 10;

/** The first attempt is made before this returns: where the store is there, the link is connected at once. */
export function openLink(options: LinkOptions): XenstoreLink {
  const { log, onState, now = () => performance.now() } = options;
  const { firstPauseMs = FIRST_PAUSE_MS, longestPauseMs = LONGEST_PAUSE_MS } = options;
  const registrations = new Set<Registration>();
  /** Kinds of failure that are in the log already. */
  const logged = new Set<string>();
  let pauseMs = firstPauseMs;
  let state: State = { is: 'stopped' };
  connect();

  return {
    read: async (path) => connection().read(path),
    directory: async (path) => connection().directory(path),
    write: async (path, value) => connection().write(path, value),
    makeDirectory: async (path) => connection().makeDirectory(path),
    remove: async (path) => connection().remove(path),
    permissions: async (path) => connection().permissions(path),
    setPermissions: async (path, permissions) => connection().setPermissions(path, permissions),
    transaction: async (work) => connection().transaction(work),
    watch,
    stop,
  };

  function connection(): Connection {
    if (state.is === 'connected') return state.connection;
    throw new XenstoreGone('there is no connection to the store');
  }

  function connect(): void {
    let transport: Transport;
    try {
      transport = options.open();
    } catch (error) {
      wait(error instanceof Error ? error.message : String(error));
      return;
    }
    const { path, maxRequestBytes } = transport;
    const made = connectOver(transport.stream, {
      log,
      maxRequestBytes,
      ...(options.answerTimeoutMs === undefined ? {} : { answerTimeoutMs: options.answerTimeoutMs }),
    });
    const connected: Connected = { is: 'connected', connection: made, path, sinceMs: now() };
    state = connected;
    made.ended.then((reason) => lose(connected, reason));
    if (logged.size > 0) log.info(`connected to the store at ${path}`);
    onState('connected', path);
    for (const registration of registrations)
      register(made, registration).catch((error: unknown) => noteRefused(registration, error));
  }

  function lose(lost: Connected, reason: XenstoreGone): void {
    if (state !== lost) return;
    for (const registration of registrations) registration.standing = null;
    // one that has stood for long is no sign that the next one fails as well
    if (now() - lost.sinceMs >= longestPauseMs) {
      pauseMs = firstPauseMs;
      logged.clear();
    }
    wait(`${lost.path}: ${reason.message}`);
  }

  function wait(problem: string): void {
    if (!logged.has(problem) && logged.size < MAX_LOGGED) {
      log.warning(`${problem}; trying again until it works`);
      logged.add(problem);
    }
    state = { is: 'waiting', timer: setTimeout(connect, pauseMs) };
    pauseMs = Math.min(pauseMs * 2, longestPauseMs);
    onState('waiting', problem);
  }

  async function watch(path: string, onEvent: (path: string) => void): Promise<Watch> {
    if (state.is === 'stopped') throw new XenstoreGone('the link to the store is stopped');
    const registration: Registration = { path, onEvent, standing: null };
    registrations.add(registration);
    if (state.is === 'connected') {
      try {
        await register(state.connection, registration);
      } catch (error) {
        if (!(error instanceof XenstoreGone)) {
          registrations.delete(registration);
          throw error;
        }
      }
    }
    return {
      async close() {
        registrations.delete(registration);
        await registration.standing?.close();
      },
    };
  }

  /** Stands or throws. */
  async function register(on: Connection, registration: Registration): Promise<void> {
    const standing = await on.watch(registration.path, (path) => {
      if (registrations.has(registration)) registration.onEvent(path);
    });
    if (!registrations.has(registration)) await standing.close();
    else if (state.is === 'connected' && state.connection === on) registration.standing = standing;
  }

  function noteRefused(registration: Registration, error: unknown): void {
    if (error instanceof XenstoreError)
      log.warning(`the store refuses a watch that it had allowed: ${error.message} (${registration.path})`);
    else if (!(error instanceof XenstoreGone)) log.error(`a watch failed: ${String(error)}`);
  }

  function stop(): void {
    const last = state;
    state = { is: 'stopped' };
    registrations.clear();
    if (last.is === 'waiting') clearTimeout(last.timer);
    if (last.is === 'connected') last.connection.close();
  }
}
