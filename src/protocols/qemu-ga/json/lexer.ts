/**
 * The token level of the QEMU guest agent's JSON (spec qemu-ga.md section 2): incremental, with QEMU's error recovery. It
 * knows bytes only; what tokens mean is the parser's matter.
 */
import type { NativeAddon } from '../../../native/index.ts';
import { SCAN_NON_ASCII, SCAN_NON_BASE64 } from '../../../native/index.ts';
import type { ReceiveBuffer } from './receive-buffer.ts';

export type TokenKind = 'punctuation' | 'integer' | 'float' | 'keyword' | 'string' | 'stray' | 'oversized';

/** One token: buffer.bytes[start, end). Reused for each token. */
export interface Token {
  kind: TokenKind;
  start: number;
  end: number;
  /** Only for strings: has a backslash; has bytes >= 0x80; is not all base64. */
  escaped: boolean;
  nonAscii: boolean;
  nonBase64: boolean;
}

/** QEMU's limit for one token (spec section 2). */
export const MAX_TOKEN_BYTES = 64 * 1024 * 1024;

type State =
  | 'start'
  | 'recovery'
  | 'string'
  | 'string-escape'
  | 'keyword'
  | 'minus'
  | 'zero'
  | 'digits'
  | 'point'
  | 'fraction'
  | 'exponent'
  | 'exponent-sign'
  | 'exponent-digits';

const LF = 0x0a;
const TAB = 0x09;
const CR = 0x0d;
const SPACE = 0x20;
const DOUBLE_QUOTE = 0x22;
const SINGLE_QUOTE = 0x27;
const BACKSLASH = 0x5c;
const POINT = 0x2e;

const isDigit = (byte: number) => byte >= 0x30 && byte <= 0x39;
const isExponent = (byte: number) => byte === 0x45 || byte === 0x65;
const isSign = (byte: number) => byte === 0x2b || byte === 0x2d;
const isLowerCase = (byte: number) => byte >= 0x61 && byte <= 0x7a;
const isPunctuation = (byte: number) =>
  byte === 0x7b || byte === 0x7d || byte === 0x5b || byte === 0x5d || byte === 0x3a || byte === 0x2c;
/** Bytes that never stand in a token: C0 controls and the two that UTF-8 cannot have. */
const breaksToken = (byte: number) => byte < SPACE || byte >= 0xfe;

export class Lexer {
  readonly #buffer: ReceiveBuffer;
  readonly #native: NativeAddon;
  #state: State = 'start';
  #quote = 0;
  readonly #token: Token = {
    kind: 'stray',
    start: 0,
    end: 0,
    escaped: false,
    nonAscii: false,
    nonBase64: false,
  };

  constructor(buffer: ReceiveBuffer, native: NativeAddon) {
    this.#buffer = buffer;
    this.#native = native;
  }

  /** The next whole token, or undefined when the input received so far has no more. Valid until the next call. */
  next(): Token | undefined {
    const buffer = this.#buffer;
    const { bytes, end } = buffer;
    while (buffer.position < end) {
      const byte = bytes[buffer.position] ?? 0;
      switch (this.#state) {
        case 'start':
          buffer.tokenStart = buffer.position;
          buffer.position += 1;
          if (byte === SPACE || byte === LF || byte === CR || byte === TAB) {
            buffer.tokenStart = buffer.position;
          } else if (isPunctuation(byte)) {
            return this.#finish('punctuation');
          } else if (byte === DOUBLE_QUOTE || byte === SINGLE_QUOTE) {
            this.#state = 'string';
            this.#quote = byte;
            this.#token.escaped = false;
            this.#token.nonAscii = false;
            this.#token.nonBase64 = false;
          } else if (byte === 0x30) this.#state = 'zero';
          else if (isDigit(byte)) this.#state = 'digits';
          else if (byte === 0x2d) this.#state = 'minus';
          else if (isLowerCase(byte)) this.#state = 'keyword';
          else return this.#stray();
          break;

        case 'recovery': // skip to where a token may begin; the byte found is read again from 'start'
          if ((breaksToken(byte) && byte !== TAB) || isPunctuation(byte)) this.#state = 'start';
          else buffer.position += 1;
          buffer.tokenStart = buffer.position;
          break;

        case 'string': {
          this.#scanString(end);
          if (buffer.position - buffer.tokenStart > MAX_TOKEN_BYTES) return this.#oversized();
          if (buffer.position >= end) break;
          const stop = bytes[buffer.position] ?? 0;
          buffer.position += 1;
          if (stop === this.#quote) return this.#finish('string');
          if (stop !== BACKSLASH) return this.#stray();
          this.#token.escaped = true;
          this.#state = 'string-escape';
          break;
        }

        case 'string-escape':
          buffer.position += 1;
          if (breaksToken(byte)) return this.#stray();
          this.#state = 'string';
          break;

        case 'keyword':
          if (!isLowerCase(byte)) return this.#finish('keyword');
          buffer.position += 1;
          break;

        case 'zero': // QEMU takes no exponent here: "0e5" is a zero and a keyword
          if (byte === POINT) this.#step('point');
          else if (isDigit(byte)) return this.#strayWith();
          else return this.#finish('integer');
          break;
        case 'digits':
          if (byte === POINT) this.#step('point');
          else if (isExponent(byte)) this.#step('exponent');
          else if (isDigit(byte)) buffer.position += 1;
          else return this.#finish('integer');
          break;
        case 'fraction':
          if (isExponent(byte)) this.#step('exponent');
          else if (isDigit(byte)) buffer.position += 1;
          else return this.#finish('float');
          break;
        case 'exponent-digits':
          if (!isDigit(byte)) return this.#finish('float');
          buffer.position += 1;
          break;

        // after these a digit must come
        case 'minus':
          if (!isDigit(byte)) return this.#strayWith();
          this.#step(byte === 0x30 ? 'zero' : 'digits');
          break;
        case 'point':
          if (!isDigit(byte)) return this.#strayWith();
          this.#step('fraction');
          break;
        case 'exponent':
          if (isSign(byte)) this.#step('exponent-sign');
          else if (isDigit(byte)) this.#step('exponent-digits');
          else return this.#strayWith();
          break;
        case 'exponent-sign':
          if (!isDigit(byte)) return this.#strayWith();
          this.#step('exponent-digits');
          break;
      }
      if (buffer.position - buffer.tokenStart > MAX_TOKEN_BYTES) return this.#oversized();
    }
    return undefined;
  }

  /** Goes to the next byte that ends or breaks the string, in the addon when there is much to scan. */
  #scanString(end: number): void {
    const buffer = this.#buffer;
    // one byte more than a token may have, so that the limit is met there
    const limit = Math.min(end, buffer.tokenStart + MAX_TOKEN_BYTES + 1);
    // short strings (command and member names) are scanned here: a call costs more than they do
    const near = Math.min(limit, buffer.position + 24);
    const { bytes } = buffer;
    let at = buffer.position;
    for (; at < near; at += 1) {
      const byte = bytes[at] ?? 0;
      if (byte === this.#quote || byte === BACKSLASH || breaksToken(byte)) {
        buffer.position = at;
        return;
      }
      if (byte >= 0x80) this.#token.nonAscii = true;
      if (!isBase64Byte(byte)) this.#token.nonBase64 = true;
    }
    if (at < limit) {
      const packed = this.#native.scanString(bytes, at, limit, this.#quote);
      const flags = packed % 4;
      at = (packed - flags) / 4;
      if (flags & SCAN_NON_ASCII) this.#token.nonAscii = true;
      if (flags & SCAN_NON_BASE64) this.#token.nonBase64 = true;
    }
    buffer.position = at;
  }

  #step(state: State): void {
    this.#state = state;
    this.#buffer.position += 1;
  }

  #finish(kind: TokenKind, next: State = 'start'): Token {
    this.#token.kind = kind;
    this.#token.start = this.#buffer.tokenStart;
    this.#token.end = this.#buffer.position;
    this.#buffer.tokenStart = this.#buffer.position;
    this.#state = next;
    return this.#token;
  }

  /** A byte that cannot go on, already taken, ends a stray token; bytes are skipped up to the next possible start. */
  #stray(): Token {
    return this.#finish('stray', 'recovery');
  }

  #strayWith(): Token {
    this.#buffer.position += 1;
    return this.#stray();
  }

  #oversized(): Token {
    return this.#finish('oversized');
  }
}

function isBase64Byte(byte: number): boolean {
  return (
    isLowerCase(byte) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    isDigit(byte) ||
    byte === 0x2b ||
    byte === 0x2f ||
    byte === 0x3d
  );
}
