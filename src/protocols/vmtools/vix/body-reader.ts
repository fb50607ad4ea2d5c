/** Reads the fields of a VIX command's body in order (spec vmware.md section 7.2). */
import { VIX, VixFailure } from './errors.ts';
import type { VixRequest } from './header.ts';

/** Each function takes the next field. @throws {VixFailure} 10001 past the end, and for a text that is none */
export interface BodyReader {
  u8(): number;
  i32(): number;
  u32(): number;
  u64(): bigint;
  i64(): bigint;
  /** A text whose length does not count its NUL. */
  required(length: number): string;
  /** A text whose length counts its NUL; 0: absent, empty. */
  optional(length: number): string;
  /** So many bytes as they are. */
  bytes(length: number): Buffer;
}

/** @throws {VixFailure} 10000 if the lengths in the header do not fit each other exactly */
export function readBody({ body, isExact }: VixRequest): BodyReader {
  if (!isExact) throw new VixFailure(VIX.INVALID_MESSAGE_HEADER);
  let at = 0;

  function take(length: number): Buffer {
    if (length > body.length - at) throw new VixFailure(VIX.INVALID_MESSAGE_BODY);
    const piece = body.subarray(at, at + length);
    at += length;
    return piece;
  }

  /** @param length with the NUL */
  function text(length: number): string {
    const piece = take(length);
    if (piece.indexOf(0) !== length - 1) throw new VixFailure(VIX.INVALID_MESSAGE_BODY);
    return piece.toString('utf8', 0, length - 1);
  }

  return {
    u8: () => take(1).readUInt8(),
    i32: () => take(4).readInt32LE(),
    u32: () => take(4).readUInt32LE(),
    u64: () => take(8).readBigUInt64LE(),
    i64: () => take(8).readBigInt64LE(),
    required: (length) => text(length + 1),
    optional: (length) => (length === 0 ? '' : text(length)),
    bytes: take,
  };
}
