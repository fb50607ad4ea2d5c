/** A script as it stands in the store, and output as it goes there: base64 both ways, within the size of a node (spec/xenstore.md section 1). */
import type { NativeAddon } from '../../native/addon.ts';

export type DecodedScript = { kind: 'text'; text: Buffer } | { kind: 'unusable'; problem: string };

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** Strict: nothing but base64 in whole groups of four, and line ends. White space and NULs at the end are what tools add. */
export function decodeScript(native: Pick<NativeAddon, 'base64Decode'>, base64: Buffer): DecodedScript {
  const text = base64
    .toString('latin1')
    .replace(/[\s\0]+$/, '')
    .replaceAll(/\r?\n/g, '');
  if (text === '') return { kind: 'unusable', problem: 'the script is empty' };
  const bytes = Buffer.from(text, 'latin1');
  const isBase64 = text.length % 4 === 0 && BASE64.test(text);
  const length = isBase64 ? native.base64Decode(bytes, 0, bytes.length) : -1;
  if (length <= 0) return { kind: 'unusable', problem: 'the script is not valid base64' };
  return { kind: 'text', text: bytes.subarray(0, length) };
}

/** What a guest can put in one node of either server: 2015 bytes, of which base64 uses whole fours. */
export const MOST_VALUE_BYTES = 2012;

/** Bytes whose base64 has at most `valueBytes`. */
export const rawBytes = (valueBytes: number): number => Math.floor(valueBytes / 4) * 3;

/**
 * The base64 of an output that may be too long.
 * @param head the output, or its beginning if that is more than fits
 * @param marker what is said at the end if it is cut
 */
export function encodeOutput(head: Buffer, isWhole: boolean, marker: string, valueBytes: number): string {
  const room = rawBytes(valueBytes);
  if (isWhole && head.length <= room) return head.toString('base64');
  const end = Buffer.from(marker).subarray(0, room);
  return Buffer.concat([head.subarray(0, room - end.length), end]).toString('base64');
}
