import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createDecoder,
  decodeDirectoryPart,
  decodeTexts,
  encodeMessage,
  encodeTexts,
  HEADER_BYTES,
  MAX_PAYLOAD_BYTES,
  MessageType,
  messageTypeName,
  XenstoreProtocolError,
} from '../../../src/protocols/xenstore/wire.ts';

const uint32 = fc.integer({ min: 0, max: 0xffff_ffff });
const message = fc.record({
  type: uint32,
  requestId: uint32,
  transactionId: uint32,
  payload: fc.uint8Array({ maxLength: MAX_PAYLOAD_BYTES, size: 'max' }).map((bytes) => Buffer.from(bytes)),
});

/** Cuts the bytes at these points, modulo their length. */
function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const points = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...points].map((start, i) => bytes.subarray(start, points[i] ?? bytes.length));
}

describe('a message', () => {
  it('has the header of spec section 2 before its payload', () => {
    const bytes = encodeMessage({
      type: MessageType.READ,
      requestId: 0x01020304,
      transactionId: 7,
      payload: encodeTexts('name'),
    });
    expect(bytes.toString('hex')).toBe('02000000' + '04030201' + '07000000' + '05000000' + '6e616d6500');
  });

  it('comes out as it went in, however the stream is split', () => {
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 5 }),
        fc.array(fc.nat(), { maxLength: 12 }),
        (sent, cuts) => {
          const decoder = createDecoder();
          const bytes = Buffer.concat(sent.map(encodeMessage));
          expect(split(bytes, cuts).flatMap((chunk) => decoder.push(chunk))).toEqual(sent);
          expect(decoder.isMidMessage).toBe(false);
        },
      ),
    );
  });

  it('comes out byte by byte, also without a payload', () => {
    const decoder = createDecoder();
    const sent = { type: 1, requestId: 2, transactionId: 3, payload: Buffer.alloc(0) };
    const bytes = encodeMessage(sent);
    const got = Array.from(bytes, (_byte, i) => {
      const messages = decoder.push(bytes.subarray(i, i + 1));
      expect(decoder.isMidMessage).toBe(i < bytes.length - 1);
      return messages;
    });
    expect(got.flat()).toEqual([sent]);
  });

  it('does not share memory with the chunks it came in', () => {
    const chunk = encodeMessage({ type: 2, requestId: 1, transactionId: 0, payload: Buffer.from('value') });
    const [got] = createDecoder().push(chunk);
    chunk.fill(0);
    expect(got?.payload.toString()).toBe('value');
  });

  it('must not announce more than a payload can hold', () => {
    fc.assert(
      fc.property(fc.integer({ min: MAX_PAYLOAD_BYTES + 1, max: 0xffff_ffff }), (lengthBytes) => {
        const header = Buffer.alloc(HEADER_BYTES);
        header.writeUInt32LE(lengthBytes, 12);
        expect(() => createDecoder().push(header)).toThrow(XenstoreProtocolError);
      }),
    );
  });

  it('never makes the decoder fail otherwise, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 20 }), (chunks) => {
        const decoder = createDecoder();
        try {
          for (const chunk of chunks) decoder.push(chunk);
        } catch (error) {
          expect(error).toBeInstanceOf(XenstoreProtocolError);
        }
      }),
    );
  });

  it('cannot be encoded with too long a payload', () => {
    const longest = Buffer.alloc(MAX_PAYLOAD_BYTES);
    const header = { type: 2, requestId: 1, transactionId: 0 };
    expect(encodeMessage({ ...header, payload: longest })).toHaveLength(HEADER_BYTES + MAX_PAYLOAD_BYTES);
    expect(() => encodeMessage({ ...header, payload: Buffer.alloc(MAX_PAYLOAD_BYTES + 1) })).toThrow(
      RangeError,
    );
  });
});

describe('message types', () => {
  it('have names', () => {
    expect(messageTypeName(MessageType.DIRECTORY_PART)).toBe('DIRECTORY_PART');
    expect(messageTypeName(0)).toBe('CONTROL');
    expect(messageTypeName(20)).toBe('type 20');
  });
});

describe('texts', () => {
  it('come out as they went in', () => {
    const text = fc.string({ unit: 'grapheme' }).filter((each) => !each.includes('\0'));
    fc.assert(
      fc.property(fc.array(text), (list) => {
        expect(decodeTexts(encodeTexts(...list))).toEqual(list);
      }),
    );
  });

  it('of an empty payload are none, not one that is empty', () => {
    expect(decodeTexts(Buffer.alloc(0))).toEqual([]);
    expect(decodeTexts(Buffer.from('\0'))).toEqual(['']);
    expect(decodeTexts(Buffer.from('a\0b'))).toEqual(['a', 'b']);
  });
});

describe('a part of a directory', () => {
  it.each([
    // seen from C xenstored (spec section 8)
    [
      '249\0foo\0tx\0unrelated\0\0',
      { generation: '249', names: ['foo', 'tx', 'unrelated'], listBytes: 17, isLast: true },
    ],
    ['249\0foo\0tx\0', { generation: '249', names: ['foo', 'tx'], listBytes: 7, isLast: false }],
    ['1\0\0', { generation: '1', names: [], listBytes: 0, isLast: true }],
    ['1\0', { generation: '1', names: [], listBytes: 0, isLast: false }],
  ])('%j', (payload, part) => {
    expect(decodeDirectoryPart(Buffer.from(payload))).toEqual(part);
  });

  it.each(['', '249', '249\0foo'])('cannot be %j', (payload) => {
    expect(() => decodeDirectoryPart(Buffer.from(payload))).toThrow(XenstoreProtocolError);
  });
});
