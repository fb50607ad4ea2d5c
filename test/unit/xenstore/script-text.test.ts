import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';
import { decodeScript, encodeOutput, MOST_VALUE_BYTES } from '../../../src/protocols/xenstore/script-text.ts';

const decode = (text: string) => decodeScript(native, Buffer.from(text, 'latin1'));

describe('a script in base64', () => {
  it('comes back, with lines broken anywhere', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 200 }),
        fc.integer({ min: 1, max: 80 }),
        (bytes, width) => {
          const text = Buffer.from(bytes)
            .toString('base64')
            .replace(new RegExp(`(.{${width}})`, 'g'), '$1\n');
          expect(decode(text)).toEqual({ kind: 'text', text: Buffer.from(bytes) });
        },
      ),
    );
  });

  it.each([
    ['', 'the script is empty'],
    [' \r\n\0', 'the script is empty'],
    ['QQ', 'the script is not valid base64'],
    ['QQ=', 'the script is not valid base64'],
    ['QQ==QQ==', 'the script is not valid base64'],
    ['=', 'the script is not valid base64'],
    ['Q Q=', 'the script is not valid base64'],
    ['QUJD\x80', 'the script is not valid base64'],
    ['QUJD-_==', 'the script is not valid base64'],
  ])('%j: %s', (text, problem) => {
    expect(decode(text)).toEqual({ kind: 'unusable', problem });
  });

  it('never throws, whatever stands there', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(['text', 'unusable']).toContain(decodeScript(native, Buffer.from(bytes)).kind);
      }),
    );
  });
});

describe('output', () => {
  it.each([
    [1509, true, 2012],
    [1509, false, 2012],
    [600, true, 500],
    [10, true, 16],
  ])('of %i bytes (whole: %s) for a value of %i', (length, isWhole, valueBytes) => {
    const marker = '\n[cut]\n';
    const value = encodeOutput(Buffer.alloc(length, 'x'), isWhole, marker, valueBytes);
    expect(value.length).toBeLessThanOrEqual(valueBytes);
    const text = Buffer.from(value, 'base64').toString();
    const isCut = !isWhole || length > (valueBytes / 4) * 3;
    expect(text.endsWith(marker)).toBe(isCut);
  });

  it('uses as much of a node as there is', () => {
    expect(MOST_VALUE_BYTES).toBeLessThanOrEqual(2015);
    expect(encodeOutput(Buffer.alloc(1509), true, '', MOST_VALUE_BYTES).length).toBe(2012);
  });
});
