/** The addon's base64 against a slow reader of the rules (spec qemu-ga.md section 3) and Node's own encoder. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** The rules one by one, as slowly as they are written down; null for a wrong letter. */
function decodeByTheBook(text: Buffer): Buffer | null {
  const letters = text.toString('latin1');
  if (/[^A-Za-z0-9+/=\n]/.test(letters)) return null;
  const clean = letters.replaceAll('\n', '');
  const bytes: number[] = [];
  for (let at = 0; at + 4 <= clean.length; at += 4) {
    const group = clean.slice(at, at + 4);
    const bits = [...group].reduce((sum, letter) => sum * 64 + Math.max(alphabet.indexOf(letter), 0), 0);
    bytes.push(bits >> 16);
    if (group[2] !== '=') bytes.push((bits >> 8) & 255);
    if (group[3] !== '=') bytes.push(bits & 255);
  }
  return Buffer.from(bytes);
}

/** Decodes in the middle of a larger buffer whose other bytes must stay as they are. */
function decode(text: Buffer): Buffer | null {
  const around = 40;
  const buffer = Buffer.alloc(text.length + 2 * around, 0xa5);
  text.copy(buffer, around);
  const size = native.base64Decode(buffer, around, around + text.length);
  const untouched = Buffer.concat([buffer.subarray(0, around), buffer.subarray(around + text.length)]);
  expect(untouched).toEqual(Buffer.alloc(2 * around, 0xa5));
  return size < 0 ? null : buffer.subarray(around, around + size);
}

const letter = fc.constantFrom(...alphabet);
const pieces = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.array(letter, { maxLength: 150 }).map((all) => all.join('')) },
    { weight: 2, arbitrary: fc.constantFrom('\n', '\n\n', '=', '==', '====') },
    {
      weight: 1,
      arbitrary: fc.uint8Array({ maxLength: 100 }).map((raw) => Buffer.from(raw).toString('base64')),
    },
  ),
  { maxLength: 12 },
);

describe('base64Decode', () => {
  it.each([
    ['', ''],
    ['QUJD', 'ABC'],
    ['QUI=', 'AB'],
    ['QQ==', 'A'],
    ['QUI', ''],
    ['QUJDQUI', 'ABC'],
    ['QUI=QUI=', 'ABAB'],
    ['QUJ\nD\n', 'ABC'],
    ['\n\n', ''],
    ['====', '\0'],
    ['====QUJD', '\0ABC'],
  ])('%j gives %j', (text, bytes) => {
    expect(decode(Buffer.from(text))?.toString('latin1')).toBe(bytes);
  });

  it.each([...'\r \t-_,.:;@[`{~\0\x7f\x80\xff'])('refuses %j anywhere', (wrong) => {
    for (const length of [4, 31, 32, 33, 64, 100]) {
      for (let at = 0; at < length; at++) {
        const text = Buffer.alloc(length, 'Q');
        text[at] = wrong.charCodeAt(0);
        expect(decode(text)).toBeNull();
      }
    }
  });

  it('accepts exactly the allowed bytes in every place of a long text', () => {
    for (let byte = 0; byte < 256; byte++) {
      for (let at = 0; at < 36; at++) {
        const text = Buffer.alloc(36, 'k');
        text[at] = byte;
        expect(decode(text)).toEqual(decodeByTheBook(text));
      }
    }
  });

  it('reads any mixture of letters, newlines and padding as the rules say', () => {
    fc.assert(
      fc.property(pieces, (all) => {
        const text = Buffer.from(all.join(''), 'latin1');
        expect(decode(text)).toEqual(decodeByTheBook(text));
      }),
      { numRuns: 400 },
    );
  });

  it('refuses any mixture with a wrong byte', () => {
    const wrong = fc
      .integer({ min: 0, max: 255 })
      .filter((byte) => !/[A-Za-z0-9+/=\n]/.test(String.fromCharCode(byte)));
    fc.assert(
      fc.property(pieces, wrong, fc.nat(), (all, byte, where) => {
        const text = Buffer.from(all.join(''), 'latin1');
        const at = where % (text.length + 1);
        expect(decode(Buffer.concat([text.subarray(0, at), Buffer.of(byte), text.subarray(at)]))).toBeNull();
      }),
      { numRuns: 200 },
    );
  });

  it('reads back what Node.js writes, also in lines of 76', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (raw) => {
        const text = Buffer.from(raw).toString('base64');
        expect(decode(Buffer.from(text))).toEqual(Buffer.from(raw));
        expect(decode(Buffer.from(text.replace(/.{76}/g, '$&\n')))).toEqual(Buffer.from(raw));
      }),
      { numRuns: 200 },
    );
  });

  it('gives the same on the thread pool', async () => {
    const raw = Buffer.alloc(300_000, 'some bytes');
    const text = Buffer.from(`  ${raw.toString('base64')}`);
    expect(await native.base64DecodeAsync(text, 2, text.length)).toBe(raw.length);
    expect(text.subarray(2, 2 + raw.length)).toEqual(raw);
    expect(await native.base64DecodeAsync(Buffer.from('QU D'), 0, 4)).toBe(-1);
  });
});

describe('base64Encode', () => {
  it('writes what Node.js writes, and nothing beside it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(50), fc.nat(20), (raw, start, at) => {
        const from = Math.min(start, raw.length);
        const text = Buffer.from(raw.subarray(from)).toString('base64');
        const target = Buffer.alloc(at + text.length + 10, '-');
        expect(native.base64Encode(raw, from, raw.length, target, at)).toBe(text.length);
        expect(target.toString()).toBe('-'.repeat(at) + text + '-'.repeat(10));
      }),
      { numRuns: 400 },
    );
  });

  it('refuses a target that is too small', () => {
    const source = Buffer.from('abc');
    expect(() => native.base64Encode(source, 0, 3, Buffer.alloc(4), 1)).toThrow(RangeError);
    expect(() => native.base64Encode(source, 0, 3, Buffer.alloc(4), -1)).toThrow(RangeError);
    expect(() => native.base64Encode(source, 0, 3, Buffer.alloc(4), 5)).toThrow(RangeError);
    expect(native.base64Encode(source, 0, 3, Buffer.alloc(4), 0)).toBe(4);
  });
});
