/** IP addresses as text and as the bytes that the host gets (spec vmware.md section 6.7, Addr). Pure. */
import { isIPv4, isIPv6, SocketAddress } from 'node:net';
import type { XdrWriter } from './xdr.ts';

/** Types of Addr. */
const IPV4 = 1;
const IPV6 = 2;
const IPV6_GROUPS = 8;

/** 4 or 16 bytes in network order; a zone (`%eth0`) is left out. null: no address. */
export function addressBytes(text: string): Buffer | null {
  const address = text.split('%', 1)[0] ?? '';
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  return isIPv6(address) ? ipv6Bytes(address) : null;
}

/** The usual short form. @param bytes 4 or 16 */
export function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: IPV6_GROUPS }, (_, index) =>
    bytes.readUInt16BE(2 * index).toString(16),
  );
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}

export function writeAddress(xdr: XdrWriter, bytes: Buffer): void {
  xdr.u32(bytes.length === 4 ? IPV4 : IPV6).opaque(bytes);
}

function ipv6Bytes(address: string): Buffer {
  const [before = '', after] = address.split('::');
  const head = groupsOf(before);
  const tail = groupsOf(after ?? '');
  const zeros = new Array<number>(IPV6_GROUPS - head.length - tail.length).fill(0);
  const bytes = Buffer.alloc(2 * IPV6_GROUPS);
  for (const [index, group] of [...head, ...zeros, ...tail].entries()) bytes.writeUInt16BE(group, 2 * index);
  return bytes;
}

/** The last group may be an IPv4 address. */
function groupsOf(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
    return [a * 256 + b, c * 256 + d];
  });
}
