/**
 * QEMU's "modified UTF-8", which its JSON reader and writer use (spec qemu-ga.md section 2): noncharacters, surrogates and overlong
 * forms are invalid, except C0 80, which stands for U+0000. One invalid sequence is as long as its first byte announced, or up
 * to the first byte that does not continue it; 5- and 6-byte forms count as (invalid) sequences.
 */

/** Smallest code point that needs a sequence of that many bytes. */
const SMALLEST = [0, 0, 0x80, 0x800, 0x10000, 0x200000, 0x4000000];

/** Whether QEMU accepts the code point: no surrogate, no noncharacter, at most U+10FFFF. */
export function isValidCodePoint(codePoint: number): boolean {
  if (codePoint < 0 || codePoint > 0x10ffff) return false;
  if (codePoint >= 0xd800 && codePoint <= 0xdfff) return false;
  return !((codePoint >= 0xfdd0 && codePoint <= 0xfdef) || (codePoint & 0xfffe) === 0xfffe);
}

/** The length that the first byte announces: 1-6, or 0 for a byte that starts nothing. */
function announcedLength(byte: number): number {
  if (byte < 0x80) return 1;
  if (byte < 0xc0 || byte >= 0xfe) return 0;
  return Math.clz32(~(byte << 24));
}

/**
 * Decodes bytes[start, end).
 * @param invalid what stands for an invalid sequence; without it the result is undefined if there is one.
 */
export function decodeModifiedUtf8(
  bytes: Buffer,
  start: number,
  end: number,
  invalid?: string,
): string | undefined {
  let text = '';
  let at = start;
  while (at < end) {
    let plainEnd = at;
    while (plainEnd < end && (bytes[plainEnd] ?? 0) < 0x80) plainEnd += 1;
    if (plainEnd > at) text += bytes.toString('latin1', at, plainEnd);
    at = plainEnd;
    if (at >= end) break;

    const first = bytes[at] ?? 0;
    const length = announcedLength(first);
    at += 1;
    let codePoint = length === 0 ? -1 : first & (0x7f >> length);
    for (let taken = 1; taken < length; taken += 1) {
      const next = at < end ? (bytes[at] ?? 0) : 0;
      if ((next & 0xc0) !== 0x80) {
        codePoint = -1;
        break;
      }
      codePoint = codePoint * 64 + (next & 0x3f);
      at += 1;
    }
    const overlong = codePoint < (SMALLEST[length] ?? 0) && !(codePoint === 0 && length === 2);
    if (!isValidCodePoint(codePoint) || overlong) {
      if (invalid === undefined) return undefined;
      text += invalid;
    } else {
      text += String.fromCodePoint(codePoint);
    }
  }
  return text;
}
