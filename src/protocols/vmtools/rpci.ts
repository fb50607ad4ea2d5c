/** RPCI: the guest asks, the host answers `1 RESULT` or `0 TEXT` (spec vmware.md section 3). */
import type { Backdoor } from './backdoor.ts';
import { ChannelLost, RpcRefused } from './channel-errors.ts';
import { type MessageChannel, openMessageChannel, RPCI_PROTOCOL } from './message-channel.ts';
import type { Rpci, RpcOptions } from './rpc.ts';

/** One request, one reply as it travels; over the backdoor or a vsocket. */
export interface RpciExchange {
  /** @throws {ChannelLost} */
  exchange(request: Buffer, options?: { privileged?: boolean }): Promise<Buffer>;
  close(): void;
}

/** A virtual machine's configuration can hold strings of a megabyte; no host sends more. */
export const MAX_RPCI_BYTES = 4 * 1024 * 1024;

const LONGEST_PREFIX = 2;
const REFUSED = Buffer.from('0 ');
const DONE = Buffer.from('1 ');

/** @throws {ChannelLost} */
export function openRpciChannel(backdoor: Backdoor): RpciExchange {
  const channel: MessageChannel = openMessageChannel(backdoor, RPCI_PROTOCOL, {
    maxMessageBytes: MAX_RPCI_BYTES,
  });
  return {
    async exchange(request, options) {
      await channel.send(request, options);
      const reply = await channel.receive();
      if (reply === null) throw new ChannelLost('reply', 'the host has no reply');
      return reply;
    },
    close: channel.close,
  };
}

/** The message of a request (spec section 3): text ends in a NUL, binary data does not, unless `nul` says otherwise. */
export function encodeRequest(request: string | Buffer, nul = typeof request === 'string'): Buffer {
  const bytes = typeof request === 'string' ? Buffer.from(request) : request;
  return nul ? Buffer.concat([bytes, Buffer.of(0)]) : bytes;
}

/** @throws {RpcRefused} @throws {ChannelLost} for what is no reply */
export function decodeReply(reply: Buffer): Buffer {
  const prefix = reply.subarray(0, LONGEST_PREFIX);
  const result = reply.subarray(LONGEST_PREFIX);
  if (prefix.equals(DONE)) return result;
  if (prefix.equals(REFUSED)) throw new RpcRefused(result);
  throw new ChannelLost('reply', 'the host sent something that is no reply');
}

/** Open, ask, close. Without a NUL by default, as command-line tools do. @throws as `Rpci.request` */
export async function requestOnce(
  backdoor: Backdoor,
  request: string | Buffer,
  { nul = false, privileged = false }: RpcOptions = {},
): Promise<Buffer> {
  const channel = openRpciChannel(backdoor);
  try {
    return decodeReply(await channel.exchange(encodeRequest(request, nul), { privileged }));
  } finally {
    channel.close();
  }
}

/**
 * The daemon's kept channel.
 * @param nextChannel called before each request with the channel that is open, if any: returns that one or a new one in its
 *   place, having closed the old one. Rejects with ChannelLost.
 */
export function keepRpci(nextChannel: (kept: RpciExchange | null) => Promise<RpciExchange>): Rpci {
  let channel: RpciExchange | null = null;
  let isClosed = false;
  let last: Promise<unknown> = Promise.resolve();

  return {
    request: (request, { nul, privileged = false } = {}) =>
      inTurn(() => ask(encodeRequest(request, nul), privileged)),
    reopen: () => inTurn(async () => drop()),
    close: () => {
      isClosed = true;
      return inTurn(async () => drop());
    },
  };

  /** Runs after all that came before, whatever became of it. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = last.then(work);
    last = mine.catch(() => undefined);
    return mine;
  }

  async function ask(message: Buffer, privileged: boolean): Promise<Buffer> {
    for (let isRepeated = false; ; isRepeated = true) {
      if (isClosed) throw new ChannelLost('open', 'the connection to the host has been closed');
      try {
        channel = await nextChannel(channel);
        return decodeReply(await channel.exchange(message, { privileged }));
      } catch (error) {
        if (error instanceof RpcRefused) throw error;
        drop();
        // a kept channel may have died since the last request: then the host saw nothing of this one
        const isUnseen = error instanceof ChannelLost && error.step === 'send';
        if (!isUnseen || isRepeated) throw error;
      }
    }
  }

  function drop(): void {
    channel?.close();
    channel = null;
  }
}
