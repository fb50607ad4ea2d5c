/** scanString against a loop over the bytes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { native, SCAN_NON_ASCII, SCAN_NON_BASE64 } from '../../../src/native/index.ts';

const doubleQuote = 0x22;

function scanSlowly(buffer: Uint8Array, start: number, end: number, quote: number): number {
  let flags = 0;
  let at = start;
  for (; at < end; at++) {
    const byte = buffer[at] ?? 0;
    if (byte === quote || byte === 0x5c || byte < 0x20 || byte >= 0xfe) break;
    if (!/[A-Za-z0-9+/=]/.test(String.fromCharCode(byte))) flags |= SCAN_NON_BASE64;
    if (byte >= 0x80) flags |= SCAN_NON_ASCII;
  }
  return at * 4 + flags;
}

describe('scanString', () => {
  it('knows every byte in every place of a block', () => {
    for (let byte = 0; byte < 256; byte++) {
      for (let at = 0; at < 140; at += 3) {
        const buffer = Buffer.alloc(140, 'x');
        buffer[at] = byte;
        expect(native.scanString(buffer, 0, 140, doubleQuote)).toBe(scanSlowly(buffer, 0, 140, doubleQuote));
      }
    }
  });

  it('agrees with a slow scan on any text, piece and quote', () => {
    const mostly = (likely: string, length: number) =>
      fc.array(
        fc.oneof(
          { weight: 60, arbitrary: fc.constantFrom(...Buffer.from(likely)) },
          { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }) },
        ),
        { maxLength: length },
      );
    const text = fc
      .tuple(mostly('QUJD+/=9', 300), mostly('a b,é"', 100))
      .map((parts) => Uint8Array.from(parts.flat()));
    fc.assert(
      fc.property(
        text,
        fc.nat(),
        fc.nat(),
        fc.constantFrom(doubleQuote, 0x27, 0x41),
        (buffer, a, b, quote) => {
          const [start, end] = [a % (buffer.length + 1), b % (buffer.length + 1)].sort((x, y) => x - y);
          expect(native.scanString(buffer, start ?? 0, end ?? 0, quote)).toBe(
            scanSlowly(buffer, start ?? 0, end ?? 0, quote),
          );
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('tells only of what lies before the end it found', () => {
    expect(native.scanString(Buffer.from('QUJD" é'), 0, 8, doubleQuote)).toBe(4 * 4);
    expect(native.scanString(Buffer.from('QU D"'), 0, 5, doubleQuote)).toBe(4 * 4 + SCAN_NON_BASE64);
    expect(native.scanString(Buffer.from('é"'), 0, 3, doubleQuote)).toBe(
      2 * 4 + SCAN_NON_BASE64 + SCAN_NON_ASCII,
    );
  });

  it('works on a view of a part of a larger buffer', () => {
    const whole = Buffer.from('""""abc"');
    expect(native.scanString(whole.subarray(4), 0, 4, doubleQuote)).toBe(3 * 4);
  });
});
