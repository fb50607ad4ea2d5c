/**
 * TCLO over the backdoor: the guest polls for commands and sends their replies (spec vmware.md section 4.1). Each cycle is
 * send-then-receive, also when idle.
 */
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import type { Log } from '../../log.ts';
import type { MessageChannel } from './message-channel.ts';
import type { TcloHandler, TcloReply } from './rpc.ts';

/** Host commands stay under this, and so must replies (spec section 2). */
export const MAX_TCLO_BYTES = 64 * 1024;
/** A command that is too long is received all the same, since only then can it be refused in its own form. */
export const MAX_RECEIVED_BYTES = 2 * 1024 * 1024;

export interface PollRhythm {
  /** The wait doubles from this after each command … */
  readonly firstMs: number;
  /** … up to this, within which a host expects its command to be picked up. */
  readonly activeMs: number;
  /** When no command but `ping` has come for this long, the wait doubles further … */
  readonly quietAfterMs: number;
  /** … up to this. A host allows seconds for an answer. */
  readonly quietMs: number;
}

/** The reference's 10, 20, 40, 80, 100, 100 ms, but half a second where nothing happens for a minute. */
export const POLL_RHYTHM: PollRhythm = {
  firstMs: 10,
  activeMs: 100,
  quietAfterMs: 60_000,
  quietMs: 500,
};

/** Time as the loop needs it. */
export interface PollClock {
  nowMs(): number;
  /** Settles, never rejects, after the time or when the signal aborts. */
  wait(timeMs: number, signal: AbortSignal): Promise<void>;
}

export async function waitOrAbort(timeMs: number, signal: AbortSignal): Promise<void> {
  await delay(timeMs, undefined, { signal }).catch(() => undefined);
}

/** The wait before the next poll. */
export function nextWaitMs(
  lastWaitMs: number | null,
  quietMs: number,
  rhythm: PollRhythm = POLL_RHYTHM,
): number {
  const cap = quietMs < rhythm.quietAfterMs ? rhythm.activeMs : rhythm.quietMs;
  return lastWaitMs === null ? Math.min(rhythm.firstMs, cap) : Math.min(lastWaitMs * 2, cap);
}

export interface CommandLoopOptions {
  readonly channel: MessageChannel;
  readonly handler: TcloHandler;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly clock: PollClock;
  readonly rhythm?: PollRhythm;
  /** A cycle has worked: the host is there. */
  onAlive?(): void;
}

const NOTHING = Buffer.alloc(0);

/** Serves one channel. Returns when the signal ends it. @throws {ChannelLost} */
export async function pollCommands(options: CommandLoopOptions): Promise<void> {
  const { channel, handler, log, signal, clock, rhythm = POLL_RHYTHM, onAlive } = options;
  let reply: Buffer = NOTHING;
  let waitMs: number | null = null;
  let activeAtMs = clock.nowMs();
  while (!signal.aborted) {
    await channel.send(reply);
    reply = NOTHING;
    const command = await channel.receive();
    onAlive?.();
    if (command === null) {
      waitMs = nextWaitMs(waitMs, clock.nowMs() - activeAtMs, rhythm);
      await clock.wait(waitMs, signal);
      continue;
    }
    reply = await execute(handler, command, log);
    // the calls do not wait for anything: a host that always has another command would starve the daemon
    await turn();
    waitMs = null;
    if (commandName(command) !== 'ping') activeAtMs = clock.nowMs();
  }
}

/** Runs the handler and makes of whatever happens a reply that fits. */
export async function execute(handler: TcloHandler, command: Buffer, log: Log): Promise<Buffer> {
  let reply: Buffer;
  try {
    const answer = await handler(command);
    reply = Buffer.isBuffer(answer) ? answer : encodeReply(answer);
  } catch (error) {
    log.error(
      `command '${commandName(command)}' failed: ${error instanceof Error ? error.stack : String(error)}`,
    );
    return Buffer.from('ERROR Internal error');
  }
  if (reply.length < MAX_TCLO_BYTES) return reply;
  log.error(`the reply of command '${commandName(command)}' has ${reply.length} bytes, too many to send`);
  return Buffer.from('ERROR Reply too long');
}

/** `OK ` or `ERROR ` and the result (spec section 4.1). */
export function encodeReply({ ok, result }: TcloReply): Buffer {
  const prefix = Buffer.from(ok ? 'OK ' : 'ERROR ');
  return Buffer.concat([prefix, typeof result === 'string' ? Buffer.from(result) : result]);
}

/** The text up to the first blank or NUL; at most 80 characters of it, since it comes from outside and goes to the log. */
export function commandName(command: Buffer): string {
  const text = command.toString('latin1', 0, 80);
  return (/^[^ \0]*/.exec(text)?.[0] ?? '').replaceAll(/[^\x21-\x7e]/g, '.');
}
