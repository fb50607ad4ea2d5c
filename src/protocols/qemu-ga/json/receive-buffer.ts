/**
 * Where a session's input is received: one stretch of reserved memory that is large enough for the largest message, so
 * that a message lies in one piece and its long strings need no copy. Pages cost memory only while they are used:
 * they are given back when the session has been idle for a moment.
 */
import type { NativeAddon } from '../../../native/index.ts';
import type { LongText } from './value.ts';

/** The tokens of one message may have 64 MiB of text (spec section 2, limits); the rest is room for one read and white space. */
const LARGE_BYTES = 66 * 1024 * 1024;
/**
 * What there is until a message needs more: reserving the large buffer makes V8 collect garbage once, which would cost several
 * milliseconds of every start.
 */
const SMALL_BYTES = 1024 * 1024;
/** The most that one read takes; a unix socket gives about 208 KiB at once. */
export const READ_BYTES = 256 * 1024;
/** What stays resident between messages. */
const KEEP_BYTES = 128 * 1024;
/** A consumed prefix shorter than this is not worth a move. */
const MOVE_AFTER_BYTES = 512 * 1024;

export class ReceiveBuffer {
  bytes: Buffer;
  /** The unread input is bytes[position, end). The lexer moves `position`. */
  position = 0;
  end = 0;
  /** Where the token begins that is being read; bytes before it (but the pinned ones) are no longer needed. */
  tokenStart = 0;
  readonly #native: NativeAddon;
  #pinned: LongText[] = [];
  #highWater = 0;

  constructor(native: NativeAddon) {
    this.#native = native;
    this.bytes = native.reserve(SMALL_BYTES);
  }

  /** Keeps a long string where it is until {@link releasePinned}. */
  pin(text: LongText): void {
    this.#pinned.push(text);
  }

  /** The message is done: its long strings may go. */
  releasePinned(): void {
    if (this.#pinned.length > 0) this.#pinned = [];
  }

  /** Makes room for a read of {@link READ_BYTES} at `end`, moving what is still needed to the front if it must. */
  makeRoom(): void {
    if (this.#pinned.length === 0) {
      if (this.tokenStart === this.end) this.#moveTokenTo(0);
      else if (this.tokenStart >= MOVE_AFTER_BYTES) this.#moveTokenTo(0);
    }
    if (this.end + READ_BYTES > this.bytes.length && this.bytes.length < LARGE_BYTES) this.#grow();
    if (this.end + READ_BYTES <= this.bytes.length) return;
    // only white space between tokens can have used up the room: close the gaps
    let front = 0;
    for (const text of this.#pinned) {
      this.bytes.copyWithin(front, text.start, text.end);
      const length = text.end - text.start;
      text.start = front;
      text.end = front + length;
      front += length;
    }
    this.#moveTokenTo(front);
  }

  /** `count` more bytes have been received at `end`. */
  received(count: number): void {
    this.end += count;
    if (this.end > this.#highWater) this.#highWater = this.end;
  }

  /** Gives unused pages back. @returns whether there was more than a little of it. */
  trim(): boolean {
    // a message that came last is still where it was received
    if (this.#pinned.length === 0 && this.tokenStart === this.end) this.#moveTokenTo(0);
    if (this.#highWater <= Math.max(KEEP_BYTES, this.end)) return false;
    this.#native.releasePages(this.bytes, Math.max(KEEP_BYTES, this.end), this.#highWater);
    this.#highWater = this.end;
    return true;
  }

  #grow(): void {
    const larger = this.#native.reserve(LARGE_BYTES);
    this.bytes.copy(larger, 0, 0, this.end);
    for (const text of this.#pinned) text.bytes = larger;
    this.#native.releasePages(this.bytes, 0, this.bytes.length);
    this.bytes = larger;
  }

  #moveTokenTo(front: number): void {
    if (this.tokenStart < this.end) this.bytes.copyWithin(front, this.tokenStart, this.end);
    const shift = this.tokenStart - front;
    this.tokenStart -= shift;
    this.position -= shift;
    this.end -= shift;
  }
}
