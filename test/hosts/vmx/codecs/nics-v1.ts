/** The guest's network report, version 1 (type 2), as the host reads it: as open-vm-tools 12.2 was seen to send it; vmware.md section 6.7. */

export interface NicV1 {
  readonly mac: string;
  /** IPv4. */
  readonly addresses: readonly string[];
}

const MAX_NICS = 16;
const NIC_BYTES = 152;
const MAX_ADDRESSES = 8;
const MAC_AT = 4;
const ADDRESSES_AT = 23;
const ADDRESS_BYTES = 16;

export function decodeNicsV1(bytes: Buffer): NicV1[] {
  if (bytes.length !== 4 + MAX_NICS * NIC_BYTES) throw new Error(`network report: ${bytes.length} bytes`);
  const text = (at: number, length: number) =>
    bytes.toString('latin1', at, at + length).replace(/\0.*$/s, '');
  return Array.from({ length: bytes.readUInt32LE() }, (_, index) => {
    const at = 4 + index * NIC_BYTES;
    const count = bytes.readUInt32LE(at);
    if (count > MAX_ADDRESSES) throw new Error(`network report: ${count} addresses`);
    return {
      mac: text(at + MAC_AT, ADDRESSES_AT - MAC_AT),
      addresses: Array.from({ length: count }, (_address, place) =>
        text(at + ADDRESSES_AT + place * ADDRESS_BYTES, ADDRESS_BYTES),
      ),
    };
  });
}
