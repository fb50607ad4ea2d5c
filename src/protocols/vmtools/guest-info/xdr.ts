/** XDR (RFC 4506), the writing side: big endian, in units of four bytes. Pure. */

export interface XdrWriter {
  u32(value: number): XdrWriter;
  bool(value: boolean): XdrWriter;
  /** Length, bytes, zeros up to the next unit. */
  opaque(bytes: Uint8Array): XdrWriter;
  /** UTF-8. */
  string(text: string): XdrWriter;
  /** Each byte is a unit of its own: a fixed array of `char`, filled up with zeros or cut. */
  chars(text: string, count: number): XdrWriter;
  array<T>(items: readonly T[], write: (xdr: XdrWriter, item: T) => void): XdrWriter;
  /** null: absent. */
  optional<T>(item: T | null, write: (xdr: XdrWriter, item: T) => void): XdrWriter;
  bytes(): Buffer;
}

const UNIT = 4;

export function xdrWriter(): XdrWriter {
  const parts: Buffer[] = [];
  const writer: XdrWriter = {
    u32(value) {
      const unit = Buffer.alloc(UNIT);
      unit.writeUInt32BE(value);
      parts.push(unit);
      return writer;
    },
    bool: (value) => writer.u32(value ? 1 : 0),
    opaque(bytes) {
      writer.u32(bytes.length);
      parts.push(Buffer.from(bytes), Buffer.alloc((UNIT - (bytes.length % UNIT)) % UNIT));
      return writer;
    },
    string: (text) => writer.opaque(Buffer.from(text)),
    chars(text, count) {
      const bytes = Buffer.from(text);
      for (let index = 0; index < count; index += 1) writer.u32(bytes[index] ?? 0);
      return writer;
    },
    array(items, write) {
      writer.u32(items.length);
      for (const item of items) write(writer, item);
      return writer;
    },
    optional(item, write) {
      writer.bool(item !== null);
      if (item !== null) write(writer, item);
      return writer;
    },
    bytes: () => Buffer.concat(parts),
  };
  return writer;
}
