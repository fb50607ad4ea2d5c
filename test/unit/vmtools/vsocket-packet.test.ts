/** The packets of the vsocket variant (spec vmware.md section 13). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createPacketReader,
  decodePacket,
  encodePacket,
  PacketError,
  type VsocketPacket,
} from '../../../src/protocols/vmtools/vsocket-packet.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const LIMIT = 1000;

const request: VsocketPacket = {
  kind: 'data',
  payload: Buffer.from('info-get guestinfo.foo'),
  fastClose: true,
};
const examples: [string, VsocketPacket, Buffer][] = [
  [
    'the one-shot request of the spec',
    request,
    Buffer.concat([
      hex('00000042 00000001 00000001 00000001 00000000 00000002 00000002 00000016'),
      Buffer.from('info-get guestinfo.foo'),
      hex('00000001 00000003 00000001 00000000'),
    ]),
  ],
  ['the heartbeat of the spec', { kind: 'ping' }, hex('00000010 00000001 00000001 00000002 00000000')],
  [
    'an empty reply',
    { kind: 'data', payload: Buffer.of(), fastClose: false },
    hex('0000001c 00000001 00000001 00000001 00000000 00000002 00000002 00000000'),
  ],
];

const packets: fc.Arbitrary<VsocketPacket> = fc.oneof(
  fc.constant({ kind: 'ping' } as const),
  fc.record({
    kind: fc.constant('data' as const),
    payload: fc.uint8Array({ maxLength: LIMIT }).map((bytes) => Buffer.from(bytes)),
    fastClose: fc.boolean(),
  }),
);

describe('a packet', () => {
  it.each(examples)('%s', (_name, packet, bytes) => {
    expect(encodePacket(packet)).toEqual(bytes);
    expect(createPacketReader(LIMIT).push(bytes)).toEqual([packet]);
  });

  it.each([
    ['fields in another order', '00000002 00000002 00000001 78 00000001 00000001 00000001 00000000', 'x'],
    [
      'unknown fields',
      '00000001 00000009 0 0 00000002 00000008 00000001 78 00000001 00000001 00000001 00000000 00000002 00000002 00000000',
      '',
    ],
  ])('%s', (_name, text, payload) => {
    const body = hex(text.replaceAll(/ 0(?= )/g, ' 00000000'));
    expect(decodePacket(body)).toEqual({ kind: 'data', payload: Buffer.from(payload), fastClose: false });
  });

  it.each([
    ['empty', ''],
    ['no data', '00000001 00000001 00000001 00000000'],
    ['an unknown type', '00000001 00000001 00000003 00000000'],
    ['a type beyond 32 bits', '00000001 00000001 00000001 00000001'],
    ['a field of an unknown type', '00000003 00000001 00000001 00000000'],
    ['a number as data', '00000001 00000001 00000001 00000000 00000001 00000002 00000001 00000000'],
    ['a string as its type', '00000002 00000001 00000004 00000001'],
    ['cut off in a field', '00000001 00000001 00000001 0000'],
    ['cut off in a head', '00000001 00000001 00000002 00000000 0000'],
    ['a string longer than the packet', '00000001 00000001 00000001 00000000 00000002 00000002 ffffffff 61'],
  ])('with %s is an error', (_name, text) => {
    expect(() => decodePacket(hex(text))).toThrow(PacketError);
  });
});

describe('a stream of packets', () => {
  it('is read whatever its pieces are', () => {
    fc.assert(
      fc.property(
        fc.array(packets, { maxLength: 8 }),
        fc.array(fc.nat(300), { minLength: 1, maxLength: 30 }),
        (all, sizes) => {
          const stream = Buffer.concat(all.map(encodePacket));
          const reader = createPacketReader(LIMIT);
          const read: VsocketPacket[] = [];
          let at = 0;
          for (let turn = 0; at < stream.length; turn += 1) {
            // an empty piece now and then, but not for ever
            const size = sizes[turn % sizes.length] ?? 1;
            const end = at + (turn % 7 === 6 ? Math.max(size, 1) : size);
            read.push(...reader.push(stream.subarray(at, end)));
            at = end;
          }
          expect(read).toEqual(all);
        },
      ),
    );
  });

  it('leaves no second copy of a packet that came in pieces', () => {
    const pieces = [0, 10, 30].map((at, index, all) =>
      Buffer.from(encodePacket(request).subarray(at, all[index + 1])),
    );
    const reader = createPacketReader(LIMIT);
    expect(pieces.flatMap((piece) => reader.push(piece))).toEqual([request]);
    expect(Buffer.concat(pieces).every((byte) => byte === 0)).toBe(true);
  });

  it('ends at a length over the limit, before its bytes have come', () => {
    expect(() => createPacketReader(LIMIT).push(hex('00000600'))).toThrow(PacketError);
    expect(() => createPacketReader(LIMIT).push(hex('ffffffff'))).toThrow(PacketError);
  });

  it('is packets or an error for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const framed = Buffer.concat([Buffer.alloc(4), bytes]);
        framed.writeUInt32BE(bytes.length);
        for (const input of [framed, Buffer.from(bytes)]) {
          try {
            createPacketReader(LIMIT).push(input);
          } catch (error) {
            expect(error).toBeInstanceOf(PacketError);
          }
        }
      }),
    );
  });
});
