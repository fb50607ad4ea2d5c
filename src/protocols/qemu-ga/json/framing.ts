/**
 * The message level: a message ends where its JSON value ends; limits and stray bytes end it early with an error
 * (spec qemu-ga.md section 2). Pull-style, so that a session can stop between two messages.
 */
import type { NativeAddon } from '../../../native/index.ts';
import { Lexer, MAX_TOKEN_BYTES, type Token } from './lexer.ts';
import { Parser } from './parser.ts';
import type { ReceiveBuffer } from './receive-buffer.ts';
import { decodeModifiedUtf8 } from './utf8.ts';
import type { JsonValue } from './value.ts';

export type Message = { kind: 'value'; value: JsonValue } | { kind: 'error'; text: string };

/** QEMU's limits for one message, beside MAX_TOKEN_BYTES for the text of all its tokens. */
const MAX_TOKENS = 2 * 1024 * 1024;
const MAX_NESTING = 1024;

export class Framing {
  readonly #buffer: ReceiveBuffer;
  readonly #lexer: Lexer;
  readonly #parser: Parser;
  #braces = 0;
  #brackets = 0;
  #tokens = 0;
  #tokenBytes = 0;

  constructor(buffer: ReceiveBuffer, native: NativeAddon) {
    this.#buffer = buffer;
    this.#lexer = new Lexer(buffer, native);
    this.#parser = new Parser(buffer, (text) => buffer.pin(text));
  }

  /**
   * The next message in what was received, or undefined if there is no whole one. Its long strings are valid until
   * {@link release}.
   */
  next(): Message | undefined {
    for (;;) {
      const token = this.#lexer.next();
      if (token === undefined) return undefined;
      const message = this.#take(token);
      if (message !== undefined) return message;
    }
  }

  /** The last message is done with. */
  release(): void {
    this.#buffer.releasePinned();
  }

  #take(token: Token): Message | undefined {
    if (token.kind === 'stray') return this.#fail(`JSON parse error, stray '${this.#strayText(token)}'`);
    if (token.kind === 'punctuation') this.#count(this.#buffer.bytes[token.start] ?? 0);
    const length = token.end - token.start;
    if (token.kind === 'oversized' || this.#tokenBytes + length + 1 > MAX_TOKEN_BYTES) {
      return this.#fail('JSON token size limit exceeded');
    }
    if (this.#tokens + 1 > MAX_TOKENS) return this.#fail('JSON token count limit exceeded');
    if (this.#braces + this.#brackets > MAX_NESTING) return this.#fail('JSON nesting depth limit exceeded');
    this.#tokens += 1;
    this.#tokenBytes += length;
    this.#parser.take(token);

    const isOpen = this.#braces > 0 || this.#brackets > 0;
    if (isOpen && this.#braces >= 0 && this.#brackets >= 0) return undefined;
    const { value, error } = this.#parser;
    this.#reset();
    if (value !== undefined && error === undefined) return { kind: 'value', value };
    this.#buffer.releasePinned();
    return { kind: 'error', text: `JSON parse error, ${error ?? 'premature EOI'}` };
  }

  #count(byte: number): void {
    if (byte === 0x7b) this.#braces += 1;
    else if (byte === 0x7d) this.#braces -= 1;
    else if (byte === 0x5b) this.#brackets += 1;
    else if (byte === 0x5d) this.#brackets -= 1;
  }

  /** The token as a C string: up to its first NUL, invalid sequences as U+FFFD. */
  #strayText(token: Token): string {
    const nul = this.#buffer.bytes.indexOf(0, token.start);
    const end = nul >= 0 && nul < token.end ? nul : token.end;
    return decodeModifiedUtf8(this.#buffer.bytes, token.start, end, '\ufffd') ?? '';
  }

  #fail(text: string): Message {
    this.#reset();
    this.#buffer.releasePinned();
    return { kind: 'error', text };
  }

  #reset(): void {
    this.#braces = 0;
    this.#brackets = 0;
    this.#tokens = 0;
    this.#tokenBytes = 0;
    this.#parser.reset();
  }
}
