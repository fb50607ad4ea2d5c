/** XDR (RFC 4506) from the reading side: big endian, units of four bytes. */

export class XdrError extends Error {
  override readonly name = 'XdrError';
}

export interface XdrReader {
  u32(): number;
  bool(): boolean;
  opaque(maxBytes: number): Buffer;
  string(maxBytes: number): string;
  array<T>(maxItems: number, item: () => T): T[];
  optional<T>(item: () => T): T | undefined;
  /** Fails if bytes are left. */
  end(): void;
}

export function xdrReader(bytes: Buffer): XdrReader {
  let at = 0;
  const take = (size: number): Buffer => {
    if (at + size > bytes.length)
      throw new XdrError(`${size} bytes wanted at ${at}, ${bytes.length} are there`);
    at += size;
    return bytes.subarray(at - size, at);
  };
  const reader: XdrReader = {
    u32: () => take(4).readUInt32BE(),
    bool() {
      const value = reader.u32();
      if (value > 1) throw new XdrError(`no bool: ${value}`);
      return value === 1;
    },
    opaque(maxBytes) {
      const size = reader.u32();
      if (size > maxBytes) throw new XdrError(`${size} bytes, at most ${maxBytes} are allowed`);
      const value = take(size);
      if (take((4 - (size % 4)) % 4).some((byte) => byte !== 0)) throw new XdrError('padding is not zero');
      return value;
    },
    string: (maxBytes) => reader.opaque(maxBytes).toString('utf8'),
    array(maxItems, item) {
      const count = reader.u32();
      if (count > maxItems) throw new XdrError(`${count} items, at most ${maxItems} are allowed`);
      return Array.from({ length: count }, item);
    },
    optional: (item) => (reader.bool() ? item() : undefined),
    end() {
      if (at !== bytes.length) throw new XdrError(`${bytes.length - at} bytes too many`);
    },
  };
  return reader;
}
