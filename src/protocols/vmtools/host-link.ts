/**
 * The two channels to the host, each over a vsocket where the host offers one, else over the backdoor: choice, fallback and
 * coming back (spec vmware.md sections 3, 4.1 and 13).
 */
import type { Duplex } from 'node:stream';
import type { Log } from '../../log.ts';
import type { Backdoor } from './backdoor.ts';
import { ChannelLost } from './channel-errors.ts';
import { openMessageChannel, TCLO_PROTOCOL } from './message-channel.ts';
import type { LinkKind, LinkState, Rpci, Tclo, TcloHandler } from './rpc.ts';
import { keepRpci, openRpciChannel, type RpciExchange } from './rpci.ts';
import { MAX_RECEIVED_BYTES, type PollClock, type PollRhythm, pollCommands, waitOrAbort } from './tclo.ts';
import { serveVsocketCommands, vsocketRpci } from './vsocket.ts';

/** A connection to a service of the host, null where it has none. Never rejects. */
export type VsocketConnector = (service: 'rpci' | 'tclo') => Promise<Duplex | null>;

export interface HostLinkOptions {
  readonly backdoor: Backdoor;
  /** null: the backdoor only. */
  readonly connectVsocket: VsocketConnector | null;
  readonly log: Log;
  readonly clock?: PollClock;
  readonly rhythm?: PollRhythm;
  /** How the host's commands come in. */
  onState?(state: LinkState, kind: LinkKind): void;
}

export interface HostLink {
  readonly rpci: Rpci;
  readonly tclo: Tclo;
}

/** The reference's pause after a lost TCLO channel. */
const REOPEN_MS = 1_000;
const FIRST_BACKOFF_MS = 4_000;
const MAX_BACKOFF_MS = 300_000;

const realClock: PollClock = { nowMs: () => process.uptime() * 1000, wait: waitOrAbort };

export function createHostLink(options: HostLinkOptions): HostLink {
  const { backdoor, connectVsocket, clock = realClock } = options;
  return {
    rpci: keepRpci(rpciChooser(backdoor, connectVsocket, clock.nowMs)),
    tclo: { serve: (handler, signal) => serveTclo({ ...options, clock }, handler, signal) },
  };
}

/** How long a vsocket that failed is left alone: 4, 8, 16 … 300 s. */
interface Backoff {
  isOver(): boolean;
  failed(): void;
  worked(): void;
}

export function createBackoff(nowMs: () => number): Backoff {
  let waitMs = FIRST_BACKOFF_MS;
  let untilMs = Number.NEGATIVE_INFINITY;
  return {
    isOver: () => nowMs() >= untilMs,
    failed() {
      untilMs = nowMs() + waitMs;
      waitMs = Math.min(waitMs * 2, MAX_BACKOFF_MS);
    },
    worked() {
      waitMs = FIRST_BACKOFF_MS;
    },
  };
}

/** For keepRpci: the vsocket when it is there and not in disgrace. */
export function rpciChooser(
  backdoor: Backdoor,
  connectVsocket: VsocketConnector | null,
  nowMs: () => number,
): (kept: RpciExchange | null) => Promise<RpciExchange> {
  const backoff = createBackoff(nowMs);
  let overVsocket: RpciExchange | null = null;
  return async (kept) => {
    if (kept !== null && (kept === overVsocket || connectVsocket === null || !backoff.isOver())) return kept;
    if (connectVsocket !== null && backoff.isOver()) {
      const stream = await connectVsocket('rpci');
      if (stream !== null) {
        kept?.close();
        overVsocket = watched(vsocketRpci(stream), backoff);
        return overVsocket;
      }
      backoff.failed();
    }
    return kept ?? openRpciChannel(backdoor);
  };
}

/** Tells the back-off how a connection does. */
function watched(channel: RpciExchange, backoff: Backoff): RpciExchange {
  return {
    async exchange(request, options) {
      try {
        const reply = await channel.exchange(request, options);
        backoff.worked();
        return reply;
      } catch (error) {
        backoff.failed();
        throw error;
      }
    },
    close: channel.close,
  };
}

type ServeOptions = HostLinkOptions & { readonly clock: PollClock };

async function serveTclo(options: ServeOptions, handler: TcloHandler, signal: AbortSignal): Promise<void> {
  const { backdoor, connectVsocket, log, clock, onState } = options;
  const backoff = createBackoff(clock.nowMs);
  let isTold = false;
  while (!signal.aborted) {
    let kind: LinkKind = 'backdoor';
    const onAlive = () => {
      if (isTold) log.info('the channel for the commands of the host is back');
      isTold = false;
    };
    try {
      const stream =
        connectVsocket !== null && backoff.isOver() && !signal.aborted ? await connectVsocket('tclo') : null;
      if (stream !== null) {
        kind = 'vsocket';
        onState?.('connected', kind);
        const alive = () => {
          backoff.worked();
          onAlive();
        };
        await serveVsocketCommands({ stream, handler, log, signal, onAlive: alive });
        continue;
      }
      await servePolled(backdoor, handler, options, signal, onAlive);
    } catch (error) {
      // a bug, which must not end the daemon's commands either
      if (!(error instanceof ChannelLost))
        log.error(error instanceof Error ? `${error.stack}` : String(error));
      if (kind === 'vsocket') backoff.failed();
      onState?.('waiting', kind);
      const text = `the channel for the commands of the host is lost: ${messageOf(error)}; opening it again`;
      if (isTold) log.debug(text);
      else log.warning(text);
      isTold = true;
      await clock.wait(REOPEN_MS, signal);
    }
  }
}

async function servePolled(
  backdoor: Backdoor,
  handler: TcloHandler,
  { log, clock, rhythm, onState }: ServeOptions,
  signal: AbortSignal,
  onAlive: () => void,
): Promise<void> {
  const channel = openMessageChannel(backdoor, TCLO_PROTOCOL, { maxMessageBytes: MAX_RECEIVED_BYTES });
  try {
    onState?.('connected', 'backdoor');
    await pollCommands({
      channel,
      handler,
      log,
      signal,
      clock,
      onAlive,
      ...(rhythm !== undefined && { rhythm }),
    });
  } finally {
    channel.close();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
