/** Reply text (spec qemu-ga.md section 2). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LongText } from '../../../src/protocols/qemu-ga/json/value.ts';
import { numberText, stringText, toParts } from '../../../src/protocols/qemu-ga/json/writer.ts';

describe('strings', () => {
  it.each([
    ['plain /', '"plain /"'],
    ['"\\\b\f\n\r\t', '"\\"\\\\\\b\\f\\n\\r\\t"'],
    ['\u0000\u001f\u007f', '"\\u0000\\u001F\\u007F"'],
    ['\u00e9\u20ac', '"\\u00E9\\u20AC"'],
    ['\u{1f600}', '"\\uD83D\\uDE00"'],
  ])('%j', (text, expected) => expect(stringText(text)).toBe(expected));

  it('are ASCII and read back the same', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const written = stringText(text);
        expect(written).toMatch(/^[ -~]*$/);
        expect(JSON.parse(written)).toBe(text);
      }),
    );
  });
});

describe('doubles are written as with %.17g', () => {
  it.each([
    [1000, '1000'],
    [-0, '0'],
    [0.1, '0.10000000000000001'],
    [2.5, '2.5'],
    [1.2345678901234568e29, '1.2345678901234568e+29'],
    [1e16, '10000000000000000'],
    [1e17, '1e+17'],
    [0.0001, '0.0001'],
    [0.00001, '1.0000000000000001e-05'],
    [5e-324, '4.9406564584124654e-324'],
    [1.5e300, '1.5000000000000001e+300'],
  ])('%f', (value, expected) => expect(numberText(value)).toBe(expected));

  it('and read back the same', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(Number(numberText(value))).toBe(value === 0 ? 0 : value);
      }),
    );
  });
});

describe('values', () => {
  it('have ", " and ": " as separators, and no member that is undefined', () => {
    const value = {
      a: 1n,
      b: undefined,
      c: [true, null, 'x', 2.5],
      d: new Map([['e', 18446744073709551615n]]),
    };
    expect(toParts(value)).toEqual([
      '{"a": 1, "c": [true, null, "x", 2.5], "d": {"e": 18446744073709551615}}',
    ]);
  });

  it('leave large data and late values as parts of their own', () => {
    const data = { kind: 'base64-data' as const, read: () => 0 };
    const late = () => 7;
    expect(toParts({ data, late, after: true })).toEqual([
      '{"data": "',
      data,
      '", "late": ',
      late,
      ', "after": true}',
    ]);
  });

  it('send a long string of base64 as it lies there, and escape any other', () => {
    const bytes = Buffer.from('QUJD"');
    const long = new LongText(bytes, 0, 4, true);
    expect(toParts([long])).toEqual(['["', long, '"]']);
    expect(toParts([new LongText(bytes, 0, 5, false)])).toEqual(['["QUJD\\""]']);
  });
});
