/** RPCI and TCLO over a vsocket connection, which may be any stream (spec vmware.md section 13). */
import type { Duplex } from 'node:stream';
import type { Log } from '../../log.ts';
import { ChannelLost } from './channel-errors.ts';
import type { TcloHandler } from './rpc.ts';
import { MAX_RPCI_BYTES, type RpciExchange } from './rpci.ts';
import { execute, MAX_RECEIVED_BYTES } from './tclo.ts';
import { createPacketReader, encodePacket, type VsocketPacket } from './vsocket-packet.ts';

/** The reference's heartbeat. */
const PING_MS = 1_000;
/** A host that does not answer, or go on with a message, this long is gone. */
const REPLY_LIMIT_MS = 30_000;
/** A host resets the session when the guest has connected; one that stays silent is not served by this service. */
const FIRST_COMMAND_LIMIT_MS = 30_000;
/** Commands that may wait for the one before: a host sends the next when it has the reply. */
const MAX_WAITING_COMMANDS = 16;

interface PacketLink {
  send(packet: VsocketPacket): void;
  close(): void;
}

/** @param onEnd once, when the connection has ended, except by `close` */
function linkPackets(
  stream: Duplex,
  maxPayloadBytes: number,
  onPacket: (packet: VsocketPacket) => void,
  onEnd: (why: string) => void,
): PacketLink {
  const reader = createPacketReader(maxPayloadBytes);
  let isOpen = true;
  let stalled: NodeJS.Timeout | undefined;
  stream.on('data', (chunk: Buffer) => {
    try {
      const packets = reader.push(chunk);
      watchForStall();
      for (const packet of packets) if (isOpen) onPacket(packet);
    } catch (error) {
      end(error instanceof Error ? error.message : String(error));
    }
  });
  stream.on('error', (error) => end(error.message));
  stream.on('end', () => end('the host closed the connection'));
  stream.on('close', () => end('the connection was closed'));
  return {
    send: (packet) => void stream.write(encodePacket(packet)),
    close,
  };

  function watchForStall(): void {
    clearTimeout(stalled);
    if (isOpen && reader.isInside)
      stalled = setTimeout(() => end('the host stopped in the middle of a message'), REPLY_LIMIT_MS);
  }

  function end(why: string): void {
    if (!isOpen) return;
    close();
    onEnd(why);
  }

  function close(): void {
    isOpen = false;
    clearTimeout(stalled);
    stream.destroy();
  }
}

export interface VsocketRpciOptions {
  readonly replyLimitMs?: number;
  /** Asks for the connection to be closed after the one reply. */
  readonly isOneShot?: boolean;
}

export function vsocketRpci(
  stream: Duplex,
  { replyLimitMs = REPLY_LIMIT_MS, isOneShot = false }: VsocketRpciOptions = {},
): RpciExchange {
  let waiting: { resolve(reply: Buffer): void; reject(error: ChannelLost): void } | null = null;
  let hasAnswered = false;
  let lostBecause: string | null = null;
  const link = linkPackets(stream, MAX_RPCI_BYTES, take, lose);

  return {
    exchange(request) {
      if (lostBecause !== null) return Promise.reject(new ChannelLost('send', lostBecause));
      const reply = new Promise<Buffer>((resolve, reject) => {
        const timer = setTimeout(() => give('no reply in time'), replyLimitMs);
        waiting = {
          resolve(value) {
            clearTimeout(timer);
            resolve(value);
          },
          reject(error) {
            clearTimeout(timer);
            reject(error);
          },
        };
      });
      link.send({ kind: 'data', payload: request, fastClose: isOneShot });
      return reply;
    },
    close() {
      link.close();
      lose('the connection was closed');
    },
  };

  function take(packet: VsocketPacket): void {
    if (packet.kind === 'ping') return;
    if (waiting === null) return give('a reply that nobody has asked for');
    const { resolve } = waiting;
    waiting = null;
    hasAnswered = true;
    resolve(packet.payload);
  }

  function give(why: string): void {
    link.close();
    lose(why);
  }

  function lose(why: string): void {
    lostBecause ??= why;
    // a service that has never answered anything is taken for one that cannot: the request may go another way
    waiting?.reject(new ChannelLost(hasAnswered ? 'receive' : 'send', lostBecause));
    waiting = null;
  }
}

export interface VsocketCommandOptions {
  readonly stream: Duplex;
  readonly handler: TcloHandler;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly pingMs?: number;
  /** A command has come. */
  onAlive?(): void;
}

/** Serves one connection: the host sends, we answer, with a heartbeat beside. Returns when the signal ends it. @throws {ChannelLost} */
export function serveVsocketCommands(options: VsocketCommandOptions): Promise<void> {
  const { stream, handler, log, signal, pingMs = PING_MS, onAlive } = options;
  return new Promise((resolve, reject) => {
    const commands: Buffer[] = [];
    let isBusy = false;
    let isOver = false;
    const link = linkPackets(stream, MAX_RECEIVED_BYTES, take, lose);
    const heartbeat = setInterval(() => link.send({ kind: 'ping' }), pingMs);
    const silence = setTimeout(() => lose('the host sends no command'), FIRST_COMMAND_LIMIT_MS);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();

    function take(packet: VsocketPacket): void {
      if (packet.kind === 'ping') return;
      clearTimeout(silence);
      onAlive?.();
      commands.push(packet.payload);
      if (commands.length > MAX_WAITING_COMMANDS) lose('the host sends commands without waiting');
      else if (!isBusy) void run();
    }

    async function run(): Promise<void> {
      isBusy = true;
      for (let command = commands.shift(); command !== undefined && !isOver; command = commands.shift()) {
        const reply = await execute(handler, command, log);
        if (!isOver) link.send({ kind: 'data', payload: reply, fastClose: false });
      }
      isBusy = false;
    }

    function lose(why: string): void {
      if (finish()) reject(new ChannelLost('receive', why));
    }

    function stop(): void {
      if (finish()) resolve();
    }

    function finish(): boolean {
      if (isOver) return false;
      isOver = true;
      clearInterval(heartbeat);
      clearTimeout(silence);
      signal.removeEventListener('abort', stop);
      link.close();
      return true;
    }
  });
}
