/** TCLO, the commands to the guest, as the host queues them; vmware.md section 4. */
import type { ChannelService } from './channels.ts';
import { waiters } from './waiters.ts';

export interface TcloReply {
  readonly ok: boolean;
  /** What follows `OK ` or `ERROR `. */
  readonly text: string;
  readonly bytes: Buffer;
}

/** The guest closed the channel, or the time is up, before it answered. */
export class CommandLost extends Error {
  override readonly name = 'CommandLost';
}

interface Queued {
  readonly bytes: Buffer;
  readonly resolve: (reply: TcloReply) => void;
  readonly reject: (error: Error) => void;
  abandoned: boolean;
}

/** Something that pulls commands: the channel that the guest opened last, or a vsocket. */
export interface TcloSession {
  /** The next command, if none is being executed. */
  offer(): Buffer | undefined;
  /** The command offered has reached the guest. */
  taken(): void;
  refused(): void;
  /** The guest's message: empty when it only polls. */
  answered(message: Buffer): void;
  closed(): void;
}

export interface Tclo {
  readonly service: ChannelService;
  /** Times of the polls without a result, ms; the newest 1000. */
  readonly pollsMs: readonly number[];
  /** Sessions that the guest has begun so far. */
  readonly sessions: number;
  readonly connected: boolean;
  command(command: string | Buffer, options?: { timeoutMs?: number }): Promise<TcloReply>;
  /** Resolves when the guest serves a session, or has begun session number `session` (from 1). */
  session(session?: number, timeoutMs?: number): Promise<void>;
  begin(onQueued?: () => void): TcloSession;
}

const MAX_POLLS = 1000;
const DEFAULT_TIMEOUT_MS = 15_000;

export function parseReply(bytes: Buffer): TcloReply {
  const text = bytes.toString('utf8');
  for (const [prefix, ok] of [
    ['OK ', true],
    ['ERROR ', false],
  ] as const)
    if (text.startsWith(prefix)) return { ok, text: text.slice(prefix.length), bytes };
  throw new CommandLost(`neither OK nor ERROR: ${JSON.stringify(text.slice(0, 80))}`);
}

export function createTclo(now: () => number): Tclo {
  const queue: Queued[] = [];
  const pollsMs: number[] = [];
  const begun = waiters<number>();
  const sessions = new Map<number, TcloSession>();
  let count = 0;
  let current: { readonly session: TcloSession; readonly onQueued: () => void } | null = null;
  let executing: Queued | null = null;

  const answered = (message: Buffer): void => {
    const command = executing;
    executing = null;
    if (command === null) {
      pollsMs.push(now());
      if (pollsMs.length > MAX_POLLS) pollsMs.shift();
      return;
    }
    if (command.abandoned) return;
    try {
      command.resolve(parseReply(message));
    } catch (error) {
      command.reject(error instanceof Error ? error : new CommandLost(String(error)));
    }
  };

  const lose = (why: string): void => {
    executing?.reject(new CommandLost(why));
    executing = null;
  };

  /** The command, no longer in the queue (it isn't if its time was up meanwhile). */
  const unqueue = (queued: Queued | undefined): Queued | undefined => {
    const index = queued === undefined ? -1 : queue.indexOf(queued);
    if (index >= 0) queue.splice(index, 1);
    return queued;
  };

  const begin: Tclo['begin'] = (onQueued = () => {}) => {
    lose('the guest began another session');
    let offered: Queued | undefined;
    const mine = () => current?.session === session;
    const session: TcloSession = {
      offer() {
        offered = mine() && executing === null ? queue[0] : undefined;
        return offered?.bytes;
      },
      taken() {
        if (mine()) executing = unqueue(offered) ?? null;
      },
      refused() {
        if (mine()) unqueue(offered)?.reject(new CommandLost('the guest refused the message'));
      },
      answered(message) {
        if (mine()) answered(message);
      },
      closed() {
        if (!mine()) return;
        current = null;
        lose('the guest closed the channel');
      },
    };
    current = { session, onQueued };
    count += 1;
    begun.tell(count);
    return session;
  };

  return {
    pollsMs,
    begin,
    get sessions() {
      return count;
    },
    get connected() {
      return current !== null;
    },
    command(command, { timeoutMs = DEFAULT_TIMEOUT_MS } = {}) {
      return new Promise<TcloReply>((resolve, reject) => {
        const settle =
          <V>(then: (value: V) => void) =>
          (value: V) => {
            clearTimeout(timer);
            then(value);
          };
        const queued: Queued = {
          bytes: Buffer.from(command),
          resolve: settle(resolve),
          reject: settle(reject),
          abandoned: false,
        };
        const timer = setTimeout(() => {
          queued.abandoned = true;
          unqueue(queued);
          const shown = Buffer.from(command).toString('latin1', 0, 60);
          reject(new CommandLost(`no answer to ${JSON.stringify(shown)} within ${timeoutMs} ms`));
        }, timeoutMs);
        queue.push(queued);
        current?.onQueued();
      });
    },
    async session(session, timeoutMs) {
      if (session === undefined ? current !== null : count >= session) return;
      await begun.wait([], (number) => number >= (session ?? 1), 'a TCLO session', timeoutMs);
    },
    service: {
      opened: (id) => void sessions.set(id, begin()),
      sent: (message, { id }) => sessions.get(id)?.answered(message),
      offer: (id) => sessions.get(id)?.offer(),
      taken: (id) => sessions.get(id)?.taken(),
      refused: (id) => sessions.get(id)?.refused(),
      closed(id) {
        sessions.get(id)?.closed();
        sessions.delete(id);
      },
    },
  };
}
