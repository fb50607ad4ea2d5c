/**
 * Sends replies: small ones are collected and written together, large data is encoded and written piece by piece while the next
 * piece is being read, so that neither memory nor the event loop pays for its size.
 */
import type { NativeAddon } from '../../native/index.ts';
import type { Channel } from '../transport/channel.ts';
import { LongText } from './json/value.ts';
import { type Base64Data, numberText, type ReplyPart } from './json/writer.ts';

/** Raw bytes of one piece; a multiple of 3, so that pieces of base64 join. */
const RAW_PIECE_BYTES = 192 * 1024;
const OUT_BYTES = 256 * 1024 + 64 * 1024;
/** Collected replies are written when they pass this. */
const FLUSH_ABOVE_BYTES = 64 * 1024;
/** What stays resident between replies. */
const KEEP_BYTES = 16 * 1024;

export class ReplyWriter {
  readonly #native: NativeAddon;
  readonly #out: Buffer;
  readonly #raw: Buffer;
  #start = 0;
  #end = 0;
  #usedBytes = 0;
  #sentBytes = 0;
  #channel: Channel | undefined;
  #onDrained: (() => void) | undefined;

  constructor(native: NativeAddon) {
    this.#native = native;
    this.#out = native.reserve(OUT_BYTES);
    this.#raw = native.reserve(2 * RAW_PIECE_BYTES);
  }

  /** Replies go to this channel from now on; what was left for an earlier one is dropped. */
  attach(channel: Channel | undefined): void {
    this.#channel = channel;
    this.#start = 0;
    this.#end = 0;
    this.#settle();
  }

  /** Collects a whole small reply. @returns false if it has to go through {@link send}. */
  append(text: string): boolean {
    if (text.length > OUT_BYTES - this.#end) return false;
    this.#end += this.#out.write(text, this.#end, 'latin1');
    return true;
  }

  /** Whether enough is collected to be written before more is. */
  get isFull(): boolean {
    return this.#end > FLUSH_ABOVE_BYTES;
  }

  /** Whether the channel is to tell when it can be written. */
  get isWaiting(): boolean {
    return this.#onDrained !== undefined;
  }

  /** Writes what was collected. @returns whether all of it is out (or the channel is gone); else await {@link drained}. */
  flush(): boolean {
    while (this.#start < this.#end) {
      const count = this.#channel?.write(this.#out, this.#start, this.#end) ?? -1;
      if (count === 0) return false;
      // a broken channel: reading will say so to the session
      this.#start = count < 0 ? this.#end : this.#start + count;
    }
    if (this.#end > this.#usedBytes) this.#usedBytes = this.#end;
    this.#sentBytes += this.#end;
    this.#start = 0;
    this.#end = 0;
    return true;
  }

  /** Resolves when all that was collected is out or the channel is gone. */
  async drained(): Promise<void> {
    while (!this.flush()) {
      await new Promise<void>((resolve) => {
        this.#onDrained = resolve;
        this.#channel?.want(false, true);
      });
    }
  }

  /** The channel can be written again. */
  writable(): void {
    this.#settle();
  }

  /**
   * Sends a reply part by part.
   * @returns its length in bytes
   * @throws what the first read of its data throws; then nothing of the reply has been sent.
   */
  async send(parts: readonly ReplyPart[]): Promise<number> {
    await this.drained();
    this.#sentBytes = 0;
    for (const part of parts) {
      if (typeof part === 'string') await this.#sendText(part);
      else if (typeof part === 'function') await this.#sendText(lateText(part()));
      else if (part instanceof LongText) await this.#sendBytes(part);
      else await this.#sendBase64(part);
    }
    await this.drained();
    return this.#sentBytes;
  }

  /** Gives memory back after a large reply. @returns whether there was any. */
  trim(): boolean {
    if (this.#usedBytes <= KEEP_BYTES || this.#end > 0) return false;
    this.#native.releasePages(this.#out, KEEP_BYTES, OUT_BYTES);
    this.#native.releasePages(this.#raw, 0, this.#raw.length);
    this.#usedBytes = 0;
    return true;
  }

  #settle(): void {
    const resolve = this.#onDrained;
    this.#onDrained = undefined;
    resolve?.();
  }

  async #room(bytes: number): Promise<void> {
    if (OUT_BYTES - this.#end < bytes) await this.drained();
  }

  async #sendText(text: string): Promise<void> {
    for (let at = 0; at < text.length; at += FLUSH_ABOVE_BYTES) {
      const piece = text.slice(at, at + FLUSH_ABOVE_BYTES);
      await this.#room(piece.length);
      this.#end += this.#out.write(piece, this.#end, 'latin1');
    }
  }

  async #sendBytes({ bytes, start, end }: LongText): Promise<void> {
    for (let at = start; at < end; at += FLUSH_ABOVE_BYTES) {
      const pieceEnd = Math.min(end, at + FLUSH_ABOVE_BYTES);
      await this.#room(pieceEnd - at);
      this.#end += bytes.copy(this.#out, this.#end, at, pieceEnd);
    }
  }

  /** Two raw pieces in turn: one is encoded and written while the other is read. */
  async #sendBase64(data: Base64Data): Promise<void> {
    let half = 0;
    let reading = data.read(this.#raw, 0, RAW_PIECE_BYTES);
    for (;;) {
      const start = half * RAW_PIECE_BYTES;
      let count: number;
      try {
        count = await reading;
      } catch (error) {
        this.#end = this.#start; // only the reply's beginning was there
        throw error;
      }
      const isLast = count < RAW_PIECE_BYTES;
      half = 1 - half;
      if (!isLast) reading = data.read(this.#raw, half * RAW_PIECE_BYTES, (half + 1) * RAW_PIECE_BYTES);
      await this.#room(Math.ceil(count / 3) * 4);
      this.#end += this.#native.base64Encode(this.#raw, start, start + count, this.#out, this.#end);
      if (isLast) return;
      // let the host read while the next piece comes; what does not go now goes with it
      this.flush();
    }
  }
}

function lateText(value: bigint | number | boolean): string {
  return typeof value === 'number' ? numberText(value) : String(value);
}
