/** What can go wrong between guest and host, as the callers of `rpc.ts` see it (spec vmware.md sections 2 and 3). */

/** The host has answered `0 TEXT`: it understood, and does not want or have it. The channel is fine. */
export class RpcRefused extends Error {
  override name = 'RpcRefused';
  /** The host's text, byte by byte; may be empty. */
  readonly reason: Buffer;
  constructor(reason: Buffer) {
    super(reason.toString());
    this.reason = reason;
  }
}

/** Where a channel broke: nothing has reached the host (`open`, `send`), or that is not known (`receive`, `reply`). */
export type ChannelStep = 'open' | 'send' | 'receive' | 'reply';

/** The channel is of no use any more. Whoever keeps one closes it and opens another. */
export class ChannelLost extends Error {
  override name = 'ChannelLost';
  readonly step: ChannelStep;
  constructor(step: ChannelStep, why: string) {
    super(why);
    this.step = step;
  }
}
