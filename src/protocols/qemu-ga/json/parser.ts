/**
 * The value level: builds one JSON value from tokens, one at a time, and keeps the first syntax error as QEMU's recursive
 * parser would report it (spec qemu-ga.md section 2). Limits and message ends are the framing's matter.
 */
import type { Token } from './lexer.ts';
import { decodeString } from './strings.ts';
import { asString, type JsonObject, type JsonValue, LongText } from './value.ts';

/** From this length on a plain string stays in the receive buffer: below it a copy is cheaper. */
const LONG_TEXT_BYTES = 512;
/** QEMU formats a syntax error in a buffer of 1024 bytes. */
const MAX_ERROR_LENGTH = 1023;

const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;

type Container =
  | { kind: 'array'; values: JsonValue[]; expects: 'value-or-end' | 'value' | 'separator-or-end' }
  | {
      kind: 'object';
      members: JsonObject;
      key: string;
      expects: 'key-or-end' | 'key' | 'colon' | 'value' | 'separator-or-end';
    };

export class Parser {
  readonly #source: { readonly bytes: Buffer };
  readonly #stack: Container[] = [];
  /** The whole value, once its last token has come. */
  value: JsonValue | undefined;
  /** The first syntax error. */
  error: string | undefined;
  readonly #onLongText: (text: LongText) => void;

  /** @param source where the tokens lie; its buffer may be another one for each message. */
  constructor(source: { readonly bytes: Buffer }, onLongText: (text: LongText) => void) {
    this.#source = source;
    this.#onLongText = onLongText;
  }

  reset(): void {
    this.#stack.length = 0;
    this.value = undefined;
    this.error = undefined;
  }

  /** Takes one token other than stray and oversized ones. After an error tokens are ignored. */
  take(token: Token): void {
    if (this.error !== undefined) return;
    const punctuation = token.kind === 'punctuation' ? (this.#source.bytes[token.start] ?? 0) : 0;
    const container = this.#stack.at(-1);
    if (container === undefined) this.#takeValue(token, punctuation);
    else if (container.kind === 'array') this.#takeInArray(container, token, punctuation);
    else this.#takeInObject(container, token, punctuation);
  }

  #takeInArray(array: Container & { kind: 'array' }, token: Token, punctuation: number): void {
    if (array.expects !== 'value' && punctuation === CLOSE_BRACKET) return this.#close(array.values);
    if (array.expects !== 'separator-or-end') return this.#takeValue(token, punctuation);
    if (punctuation !== COMMA) return this.#fail('expected separator in list');
    array.expects = 'value';
  }

  #takeInObject(object: Container & { kind: 'object' }, token: Token, punctuation: number): void {
    switch (object.expects) {
      case 'key-or-end':
      case 'separator-or-end':
        if (punctuation === CLOSE_BRACE) return this.#close(object.members);
        if (object.expects === 'key-or-end') return this.#takeValue(token, punctuation);
        if (punctuation !== COMMA) return this.#fail('expected separator in dict');
        object.expects = 'key';
        return;
      case 'key':
      case 'value':
        return this.#takeValue(token, punctuation);
      case 'colon':
        if (punctuation !== COLON) return this.#fail('missing : in object pair');
        object.expects = 'value';
    }
  }

  #takeValue(token: Token, punctuation: number): void {
    switch (token.kind) {
      case 'punctuation':
        if (punctuation === OPEN_BRACE) {
          this.#stack.push({ kind: 'object', members: new Map(), key: '', expects: 'key-or-end' });
        } else if (punctuation === OPEN_BRACKET) {
          this.#stack.push({ kind: 'array', values: [], expects: 'value-or-end' });
        } else {
          this.#fail('expecting value');
        }
        return;
      case 'string':
        return this.#takeString(token);
      case 'integer':
        return this.#add(integerValue(this.#text(token)));
      case 'float':
        return this.#add(Number(this.#text(token)));
      default: {
        const word = this.#text(token);
        if (word === 'true') return this.#add(true);
        if (word === 'false') return this.#add(false);
        if (word === 'null') return this.#add(null);
        return this.#fail(`invalid keyword '${word}'`);
      }
    }
  }

  #takeString(token: Token): void {
    const start = token.start + 1;
    const end = token.end - 1;
    if (token.escaped || token.nonAscii) {
      const decoded = decodeString(this.#source.bytes, start, end);
      return 'error' in decoded ? this.#fail(decoded.error) : this.#add(decoded.text);
    }
    if (end - start < LONG_TEXT_BYTES) return this.#add(this.#source.bytes.toString('latin1', start, end));
    const text = new LongText(this.#source.bytes, start, end, !token.nonBase64);
    this.#onLongText(text);
    this.#add(text);
  }

  #add(value: JsonValue): void {
    const container = this.#stack.at(-1);
    if (container === undefined) {
      this.value = value;
    } else if (container.kind === 'array') {
      container.values.push(value);
      container.expects = 'separator-or-end';
    } else if (container.expects === 'value') {
      if (container.members.has(container.key)) return this.#fail('duplicate key');
      container.members.set(container.key, value);
      container.expects = 'separator-or-end';
    } else {
      const key = asString(value);
      if (key === undefined) return this.#fail('key is not a string in object');
      container.key = key;
      container.expects = 'colon';
    }
  }

  #close(value: JsonValue): void {
    this.#stack.pop();
    this.#add(value);
  }

  #text(token: Token): string {
    return this.#source.bytes.toString('latin1', token.start, token.end);
  }

  #fail(error: string): void {
    this.error = error.slice(0, MAX_ERROR_LENGTH);
  }
}

const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COLON = 0x3a;
const COMMA = 0x2c;

/** Signed 64 bits, else unsigned 64 bits, else a double (spec section 2). Thirty digits are beyond both. */
function integerValue(text: string): bigint | number {
  if (text.length > 30) return Number(text);
  const value = BigInt(text);
  return value >= INT64_MIN && value <= UINT64_MAX ? value : Number(text);
}
