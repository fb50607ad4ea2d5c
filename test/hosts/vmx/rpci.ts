/** RPCI, the calls of the guest, as the host answers and records them; vmware.md section 3. */
import type { ChannelService } from './channels.ts';
import { waiters } from './waiters.ts';

export interface RpcCall {
  /** Without the NUL at the end. */
  readonly text: string;
  readonly bytes: Buffer;
  readonly endsWithNul: boolean;
  readonly name: string;
  /** What follows the name and one blank. */
  readonly args: string;
  readonly privileged: boolean;
  readonly transport: 'backdoor' | 'vsocket';
  readonly atMs: number;
  readonly reply: RpcReply;
}

export interface RpcReply {
  readonly ok: boolean;
  readonly value: string;
}

export type RpcRequest = Omit<RpcCall, 'reply'>;
export type RpcHandler = (request: RpcRequest) => RpcReply;

export const done = (value = ''): RpcReply => ({ ok: true, value });
export const refusal = (value: string): RpcReply => ({ ok: false, value });

export interface RpcRefusal {
  /** A name, or a pattern for the whole text. */
  readonly request: string | RegExp;
  readonly text?: string;
  /** Default: for ever. */
  readonly times?: number;
}

export interface Rpci {
  readonly service: ChannelService;
  /** Every request so far, oldest first. */
  readonly calls: readonly RpcCall[];
  /** The raw reply (`1 …` or `0 …`) to a request over any transport. */
  answer(bytes: Buffer, caller: Pick<RpcCall, 'privileged' | 'transport'>): Buffer;
  handle(name: string, handler: RpcHandler): void;
  refuse(refusal: RpcRefusal): () => void;
  /** The first request that matches, among those from number `from` on or still to come. */
  wait(pattern: RegExp | string, options?: { from?: number; timeoutMs?: number }): Promise<RpcCall>;
}

export function createRpci(now: () => number): Rpci {
  const calls: RpcCall[] = [];
  const handlers = new Map<string, RpcHandler>();
  const refusals: { request: string | RegExp; text: string; times: number }[] = [];
  const replies = new Map<number, Buffer>();
  const waiting = waiters<RpcCall>();

  const refused = (request: RpcRequest): RpcReply | undefined => {
    const hit = refusals.find((candidate) =>
      typeof candidate.request === 'string'
        ? candidate.request === request.name
        : candidate.request.test(request.text),
    );
    if (hit === undefined) return undefined;
    hit.times -= 1;
    if (hit.times <= 0) refusals.splice(refusals.indexOf(hit), 1);
    return refusal(hit.text);
  };

  const answer: Rpci['answer'] = (bytes, caller) => {
    const endsWithNul = bytes.at(-1) === 0;
    const text = bytes.toString('utf8', 0, endsWithNul ? bytes.length - 1 : bytes.length);
    const end = text.search(/[ \0]/);
    const name = end < 0 ? text : text.slice(0, end);
    const args = end < 0 ? '' : text.slice(end + 1);
    const request: RpcRequest = { text, bytes, endsWithNul, name, args, atMs: now(), ...caller };
    const reply = refused(request) ?? handlers.get(name)?.(request) ?? refusal('Unknown command');
    const call: RpcCall = { ...request, reply };
    calls.push(call);
    waiting.tell(call);
    return Buffer.from(`${reply.ok ? '1' : '0'} ${reply.value}`);
  };

  return {
    calls,
    answer,
    service: {
      opened: () => {},
      sent(message, { id, privileged }) {
        replies.set(id, answer(message, { privileged, transport: 'backdoor' }));
      },
      offer: (id) => replies.get(id),
      taken: (id) => void replies.delete(id),
      refused: (id) => void replies.delete(id),
      closed: (id) => void replies.delete(id),
    },
    handle: (name, handler) => void handlers.set(name, handler),
    refuse({ request, text = 'refused', times = Number.POSITIVE_INFINITY }) {
      const entry = { request, text, times };
      refusals.push(entry);
      return () => {
        if (refusals.includes(entry)) refusals.splice(refusals.indexOf(entry), 1);
      };
    },
    wait(pattern, { from = 0, timeoutMs } = {}) {
      const matches = (call: RpcCall): boolean =>
        typeof pattern === 'string' ? call.text === pattern : pattern.test(call.text);
      return waiting.wait(calls.slice(from), matches, `RPC ${pattern}`, timeoutMs);
    },
  };
}
