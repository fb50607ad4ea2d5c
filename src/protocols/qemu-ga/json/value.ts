/**
 * JSON values as the QEMU guest agent protocol sees them (spec qemu-ga.md section 2): integers are exact 64-bit numbers
 * and a type of their own beside doubles, and a long string stays where it was received.
 */

export type JsonValue = null | boolean | bigint | number | string | LongText | JsonValue[] | JsonObject;
/** Members in the order in which they came. */
export type JsonObject = Map<string, JsonValue>;

/**
 * A long string of printable ASCII without escapes, which is left in the receive buffer: base64 data that is decoded in
 * place and written from there. It is valid until the message it belongs to is released.
 */
export class LongText {
  bytes: Buffer;
  /** The text is bytes[start, end), without the quotes. The receive buffer moves it when it has to. */
  start: number;
  end: number;
  /** Whether all bytes are base64 letters, digits, `+`, `/` or `=`. */
  readonly isBase64: boolean;

  constructor(bytes: Buffer, start: number, end: number, isBase64: boolean) {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.isBase64 = isBase64;
  }

  toString(): string {
    return this.bytes.toString('latin1', this.start, this.end);
  }
}

export function isObject(value: JsonValue): value is JsonObject {
  return value instanceof Map;
}

/** The text of a string value, or undefined if the value is no string. */
export function asString(value: JsonValue): string | undefined {
  if (typeof value === 'string') return value;
  return value instanceof LongText ? value.toString() : undefined;
}
