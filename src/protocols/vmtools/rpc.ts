/**
 * What the services of this folder (options, power, time, guest information, VIX, backup) see of the host: they ask it
 * by `Rpci` and are commanded by `Tclo` (spec vmware.md sections 3 and 4), over whichever channel the host offers.
 * `host-link.ts` makes both.
 */

export interface RpcOptions {
  /**
   * Whether a NUL ends the message. By default text has one, as nearly all of the reference's daemon, and a Buffer (binary
   * data) has none.
   */
  readonly nul?: boolean;
  /** Ask with the privilege that a host may demand of `vmbackup.eventSet` (spec section 8). */
  readonly privileged?: boolean;
}

/**
 * The guest asks. One request at a time, the others wait in order. The channel is opened by the first request and kept; a request
 * that a broken channel did not take is sent once more over a new one, one that the host may have seen is not.
 */
export interface Rpci {
  /**
   * @returns the result, without `1 ` before it
   * @throws {RpcRefused} for `0 …`
   * @throws {ChannelLost} when there is no channel to be had or no proper answer came; the next request opens a new one
   */
  request(request: string | Buffer, options?: RpcOptions): Promise<Buffer>;
  /** Closes the channel when its request is done: the next request opens another one (after a `reset`). */
  reopen(): Promise<void>;
  /** The same for good: waits for the request under way; those behind it, and all later ones, fail with ChannelLost. */
  close(): Promise<void>;
}

export interface TcloReply {
  /** `OK ` or `ERROR ` before the result. */
  readonly ok: boolean;
  readonly result: string | Buffer;
}

export const accepted = (result: string | Buffer = ''): TcloReply => ({ ok: true, result });
export const refused = (text: string): TcloReply => ({ ok: false, result: text });

/**
 * Executes one command, of which a NUL at its end is part. A Buffer is the whole reply as it travels. A rejection is logged and
 * answered with an ERROR. The host hears nothing until it settles, and its patience lasts some seconds: what takes longer
 * must go on by itself and tell its result by an RPC.
 */
export type TcloHandler = (command: Buffer) => Promise<Buffer | TcloReply>;

/** The host commands. */
export interface Tclo {
  /**
   * Serves commands until the signal ends it, over one channel after the other: after a loss the next one is opened 1 s later.
   * Never rejects. The handler under way may finish, its reply is not sent then.
   */
  serve(handler: TcloHandler, signal: AbortSignal): Promise<void>;
}

/** How a channel is doing, for `chr-agent status`. */
export type LinkState = 'connected' | 'waiting';
export type LinkKind = 'backdoor' | 'vsocket';
