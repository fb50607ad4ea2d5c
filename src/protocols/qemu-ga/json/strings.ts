/** String tokens to text: escapes and UTF-8 as QEMU's parser has them (spec qemu-ga.md section 2). */
import { decodeModifiedUtf8, isValidCodePoint } from './utf8.ts';

const BACKSLASH = 0x5c;
const LETTER_U = 0x75;
const SIMPLE_ESCAPES = new Map<number, string>([
  [0x22, '"'],
  [0x27, "'"],
  [BACKSLASH, '\\'],
  [0x2f, '/'],
  [0x62, '\b'],
  [0x66, '\f'],
  [0x6e, '\n'],
  [0x72, '\r'],
  [0x74, '\t'],
]);

export type Decoded = { text: string } | { error: string };

const isPlainAscii = (byte: number) => byte < 0x80 && byte !== BACKSLASH;

/** Decodes bytes[start, end), a string token without its quotes that has escapes or bytes beyond ASCII. */
export function decodeString(bytes: Buffer, start: number, end: number): Decoded {
  let text = '';
  let at = start;
  while (at < end) {
    const byte = bytes[at] ?? 0;
    if (byte === BACKSLASH) {
      const sequence = decodeEscape(bytes, at, end);
      if ('error' in sequence) return sequence;
      text += sequence.text;
      at += sequence.length;
      continue;
    }
    let runEnd = at + 1;
    if (byte < 0x80) {
      while (runEnd < end && isPlainAscii(bytes[runEnd] ?? 0)) runEnd += 1;
      text += bytes.toString('latin1', at, runEnd);
    } else {
      while (runEnd < end && (bytes[runEnd] ?? 0) >= 0x80) runEnd += 1;
      const run = decodeModifiedUtf8(bytes, at, runEnd);
      if (run === undefined) return { error: 'invalid UTF-8 sequence in string' };
      text += run;
    }
    at = runEnd;
  }
  return { text };
}

function decodeEscape(
  bytes: Buffer,
  at: number,
  end: number,
): { text: string; length: number } | { error: string } {
  const letter = bytes[at + 1] ?? 0;
  if (letter !== LETTER_U) {
    const text = SIMPLE_ESCAPES.get(letter);
    return text === undefined ? { error: 'invalid escape sequence in string' } : { text, length: 2 };
  }
  let length = 6;
  let codePoint = hexDigits(bytes, at + 2, end);
  const isLeadingSurrogate = codePoint >= 0xd800 && codePoint <= 0xdbff;
  if (isLeadingSurrogate && bytes[at + 6] === BACKSLASH && bytes[at + 7] === LETTER_U && at + 8 <= end) {
    const trailing = hexDigits(bytes, at + 8, end);
    if (trailing >= 0xdc00 && trailing <= 0xdfff) {
      codePoint = 0x10000 + ((codePoint & 0x3ff) << 10) + (trailing & 0x3ff);
      length = 12;
    } else {
      codePoint = -1;
    }
  }
  if (!isValidCodePoint(codePoint)) {
    // QEMU quotes six or twelve bytes, the closing quote among them if the digits are short
    const quoted = decodeModifiedUtf8(bytes, at, Math.min(at + length, end + 1), '\ufffd');
    return { error: `${quoted} is not a valid Unicode character` };
  }
  return { text: String.fromCodePoint(codePoint), length };
}

/** The value of four hex digits, or -1. */
function hexDigits(bytes: Buffer, at: number, end: number): number {
  if (at + 4 > end) return -1;
  const digits = bytes.toString('latin1', at, at + 4);
  return /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1;
}
