/**
 * GuestMsg channels: messages of bytes over the backdoor's command 30. Sub-commands, status bits, and the rule that a checkpoint
 * (suspend, snapshot, vMotion) in the middle of a message starts that message again: spec vmware.md section 2.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Backdoor, type BackdoorResult, type ChannelAddress, COMMAND } from './backdoor.ts';
import { ChannelLost, type ChannelStep } from './channel-errors.ts';

export const RPCI_PROTOCOL = 0x49435052;
export const TCLO_PROTOCOL = 0x4f4c4354;
export type MessageProtocol = typeof RPCI_PROTOCOL | typeof TCLO_PROTOCOL;

/** Whole messages, one after the other; do not start one before the last has settled. */
export interface MessageChannel {
  /** @throws {ChannelLost} the host has not taken it, and the channel is closed */
  send(message: Buffer, options?: { privileged?: boolean }): Promise<void>;
  /** The next message, null if the host has none now. @throws {ChannelLost} and the channel is closed */
  receive(): Promise<Buffer | null>;
  /** Gives the channel back to the host, which has few. */
  close(): void;
}

export interface MessageChannelOptions {
  /** Longer messages of the host are refused, and end the channel. */
  readonly maxMessageBytes: number;
  /** Between the attempts at a message that checkpoints interrupt. */
  readonly pause?: (timeMs: number) => Promise<unknown>;
}

/** Sub-commands. */
const OPEN = 0;
const SEND_SIZE = 1;
const SEND_PAYLOAD = 2;
const RECEIVE_SIZE = 3;
const RECEIVE_PAYLOAD = 4;
const RECEIVE_STATUS = 5;
const CLOSE = 6;

/** Status bits. */
const SUCCESS = 0x01;
const DO_RECEIVE = 0x02;
const CHECKPOINT = 0x10;
const HIGH_BANDWIDTH = 0x80;

const WITH_COOKIE = 0x8000_0000;
const WORD_BYTES = 4;
/** In EBX of RECVPAYLOAD and RECVSTATUS: what came before was taken, or is refused. */
const TAKEN = 1;
const NOT_TAKEN = 0;

/** A suspended machine sees one or two checkpoints; a host that goes on with them is broken. */
const MAX_ATTEMPTS = 8;
const FIRST_PAUSE_MS = 1;

/** What an attempt at a message came to. */
type Attempt<T> = { outcome: 'done'; value: T } | { outcome: 'checkpoint' };
const CHECKPOINTED = { outcome: 'checkpoint' } as const;

/** @throws {ChannelLost} the host gives none */
export function openMessageChannel(
  backdoor: Backdoor,
  protocol: MessageProtocol,
  { maxMessageBytes, pause = delay }: MessageChannelOptions,
): MessageChannel {
  const address = open(backdoor, protocol);
  let isOpen = true;

  return {
    send: (message, { privileged = false } = {}) =>
      complete('send', () => trySend(privileged ? backdoor.privileged : backdoor, address, message)),
    receive: () => complete('receive', () => tryReceive(backdoor, address, maxMessageBytes)),
    close,
  };

  /** Repeats a message until no checkpoint comes in between; lets the event loop run meanwhile, and gives up some time. */
  async function complete<T>(step: ChannelStep, attempt: () => Attempt<T>): Promise<T> {
    try {
      for (let count = 1; isOpen; count += 1) {
        const result = attempt();
        if (result.outcome === 'done') return result.value;
        if (count === MAX_ATTEMPTS) throw new ChannelLost(step, `${count} checkpoints during one message`);
        await pause(FIRST_PAUSE_MS << (count - 1));
      }
    } catch (error) {
      close();
      throw error;
    }
    throw new ChannelLost(step, 'the channel is closed');
  }

  function close(): void {
    if (!isOpen) return;
    isOpen = false;
    try {
      step(backdoor, address, CLOSE);
    } catch {
      // it was to go away anyhow
    }
  }
}

function open(backdoor: Backdoor, protocol: MessageProtocol): ChannelAddress {
  for (const bx of [protocol | WITH_COOKIE, protocol]) {
    const result = backdoor.call({ command: COMMAND.message, subcommand: OPEN, bx });
    if (status(result) & SUCCESS) {
      return { channel: result.dx >>> 16, cookieHigh: result.si, cookieLow: result.di };
    }
  }
  throw new ChannelLost('open', 'the host gives no channel');
}

function trySend(backdoor: Backdoor, address: ChannelAddress, message: Buffer): Attempt<void> {
  const sized = step(backdoor, address, SEND_SIZE, message.length);
  if (!(status(sized) & SUCCESS)) throw new ChannelLost('send', 'the host takes no message');
  if (message.length === 0) return { outcome: 'done', value: undefined };
  if (status(sized) & HIGH_BANDWIDTH) {
    return went('send', backdoor.write(address, message)) ?? { outcome: 'done', value: undefined };
  }
  for (let at = 0; at < message.length; at += WORD_BYTES) {
    const sent = step(backdoor, address, SEND_PAYLOAD, wordAt(message, at));
    const interrupted = went('send', status(sent));
    if (interrupted !== null) return interrupted;
  }
  return { outcome: 'done', value: undefined };
}

function tryReceive(
  backdoor: Backdoor,
  address: ChannelAddress,
  maxMessageBytes: number,
): Attempt<Buffer | null> {
  const sized = step(backdoor, address, RECEIVE_SIZE);
  if (!(status(sized) & SUCCESS)) throw new ChannelLost('receive', 'the host gives no message');
  if (!(status(sized) & DO_RECEIVE)) return { outcome: 'done', value: null };
  expectKind(sized, SEND_SIZE);
  const length = sized.bx;
  if (length > maxMessageBytes) {
    step(backdoor, address, RECEIVE_PAYLOAD, NOT_TAKEN);
    throw new ChannelLost('receive', `a message of ${length} bytes, over the limit of ${maxMessageBytes}`);
  }
  // zeroed: a host that sends less than it says must not show us old memory
  const message = Buffer.alloc(length);
  if (length > 0) {
    const interrupted =
      status(sized) & HIGH_BANDWIDTH
        ? went('receive', backdoor.read(address, message))
        : receiveWords(backdoor, address, message);
    if (interrupted !== null) return interrupted;
  }
  const taken = step(backdoor, address, RECEIVE_STATUS, TAKEN);
  return went('receive', status(taken)) ?? { outcome: 'done', value: message };
}

function receiveWords(
  backdoor: Backdoor,
  address: ChannelAddress,
  message: Buffer,
): typeof CHECKPOINTED | null {
  for (let at = 0; at < message.length; at += WORD_BYTES) {
    const part = step(backdoor, address, RECEIVE_PAYLOAD, TAKEN);
    const interrupted = went('receive', status(part));
    if (interrupted !== null) return interrupted;
    expectKind(part, SEND_PAYLOAD);
    const count = Math.min(WORD_BYTES, message.length - at);
    for (let index = 0; index < count; index += 1) message[at + index] = part.bx >>> (8 * index);
  }
  return null;
}

function step(backdoor: Backdoor, address: ChannelAddress, subcommand: number, bx = 0): BackdoorResult {
  return backdoor.call({
    command: COMMAND.message,
    subcommand,
    bx,
    channel: address.channel,
    si: address.cookieHigh,
    di: address.cookieLow,
  });
}

const status = ({ cx }: BackdoorResult) => cx >>> 16;

/** null: it worked. @throws {ChannelLost} for a failure that is no checkpoint */
function went(step: ChannelStep, bits: number): typeof CHECKPOINTED | null {
  if (bits & SUCCESS) return null;
  if (bits & CHECKPOINT) return CHECKPOINTED;
  throw new ChannelLost(step, `the host broke a message off (status 0x${bits.toString(16)})`);
}

/** In its answers the host says which of its own steps they are. */
function expectKind({ dx }: BackdoorResult, kind: number): void {
  const got = dx >>> 16;
  if (got !== kind) throw new ChannelLost('receive', `the host takes step ${got} instead of ${kind}`);
}

/** Little endian, padded with zeros after the end. */
function wordAt(message: Buffer, at: number): number {
  return message.readUIntLE(at, Math.min(WORD_BYTES, message.length - at));
}
