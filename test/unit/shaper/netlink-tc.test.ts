/** Bytes as `strace -e trace=network tc …` shows them, and round trips. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readMessages } from '../../../src/guest/linux/netlink.ts';
import {
  burstTicks,
  fqCodelOptions,
  parseAcknowledgement,
  parseFqCodel,
  parseQdisc,
  parseTbf,
  qdiscRequest,
  TC_ROOT,
  tbfOptions,
} from '../../../src/guest/linux/netlink-tc.ts';
import { parseChanges } from '../../../src/guest/network-events.ts';

const only = (data: Buffer) => {
  const [first, ...rest] = readMessages(data);
  if (first === undefined || rest.length > 0) throw new Error('not one message');
  return first;
};

describe('qdiscs', () => {
  it('a request reads back as what it says', () => {
    const rate = fc.integer({ min: 1, max: 2 ** 32 - 1 });
    fc.assert(
      fc.property(
        rate,
        fc.integer({ min: 1, max: 1e7 }),
        fc.nat(),
        (rateBytesPerSecond, burstBytes, linkIndex) => {
          fc.pre(burstTicks(rateBytesPerSecond, burstBytes) < 2 ** 32);
          const options = tbfOptions({ rateBytesPerSecond, burstBytes, limitBytes: 77 });
          const request = qdiscRequest(
            { change: 'put', linkIndex, handle: 0xc4a0_0000, parent: TC_ROOT, kind: 'tbf', options },
            9,
          );
          expect(request.readUInt32LE(0)).toBe(request.length);
          expect(request.readUInt32LE(8)).toBe(9);
          const qdisc = parseQdisc(only(request));
          expect(qdisc).toMatchObject({ linkIndex, handle: 0xc4a0_0000, parent: TC_ROOT, kind: 'tbf' });
          expect(parseTbf(qdisc?.options ?? Buffer.alloc(0))).toEqual({
            rateBytesPerSecond,
            peakRateBytesPerSecond: 0,
            limitBytes: 77,
            burstTicks: burstTicks(rateBytesPerSecond, burstBytes),
          });
        },
      ),
    );
  });

  it('fq_codel’s options', () => {
    const options = {
      targetUs: 18_768,
      intervalUs: 113_768,
      limitPackets: 1000,
      memoryLimitBytes: 2_097_152,
    };
    expect(parseFqCodel(fqCodelOptions(options))).toEqual(options);
    expect(parseFqCodel(Buffer.alloc(0)).targetUs).toBe(0);
  });

  it('survives any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const data = Buffer.from(bytes);
        parseTbf(data);
        parseFqCodel(data);
        parseAcknowledgement(data);
        parseChanges(data, 3);
        parseQdisc({ type: 36, flags: 0, payload: data });
      }),
    );
  });
});

describe('acknowledgements', () => {
  const ack = (errno: number, text: string) => {
    const request = Buffer.alloc(36);
    request.writeUInt32LE(36, 0);
    const words = text === '' ? Buffer.alloc(0) : Buffer.concat([Buffer.from([text.length + 5, 0, 1, 0]), Buffer.from(`${text}\0`)]); // biome-ignore format: one message
    const code = Buffer.alloc(4);
    code.writeInt32LE(-errno);
    const body = Buffer.concat([code, errno === 0 ? request.subarray(0, 16) : request, words]);
    const header = Buffer.alloc(16);
    header.writeUInt32LE(16 + body.length, 0);
    header.writeUInt16LE(2, 4);
    return Buffer.concat([header, body]);
  };

  it.each([
    [0, ''],
    [2, 'Specified qdisc kind is unknown'],
    [1, ''],
  ])('errno %d %s', (errno, text) => {
    expect(parseAcknowledgement(ack(errno, text))).toEqual({ errno, text });
  });
});

describe('events', () => {
  const event = (type: number, attributes: Buffer = Buffer.alloc(0)) => {
    const message = Buffer.alloc(32);
    message.writeUInt32LE(32 + attributes.length, 0);
    message.writeUInt16LE(type, 4);
    message.writeInt32LE(7, 20);
    return Buffer.concat([message, attributes]);
  };
  const nested = (type: number, value: number) => {
    const data = Buffer.alloc(8);
    data.writeUInt16LE(8, 0);
    data.writeUInt16LE(type, 2);
    data.writeInt32LE(value, 4);
    return data;
  };

  it.each([
    [16, 'links', false],
    [17, 'links', true],
    [20, 'addresses', false],
    [21, 'addresses', true],
    [36, 'qdiscs', false],
    [37, 'qdiscs', true],
  ])('type %d: %s, removed %s', (type, subject, removed) => {
    expect(parseChanges(event(type), -1)).toEqual([
      { subject, removed, linkIndex: 7, namespaceId: null, movedTo: null },
    ]);
  });

  it('tells where a link has gone, and from which namespace the event comes', () => {
    const gone = event(17, Buffer.concat([nested(45, 4), nested(49, 12)]));
    expect(parseChanges(gone, 2)).toMatchObject([
      { namespaceId: 2, movedTo: { namespaceId: 4, linkIndex: 12 } },
    ]);
    expect(parseChanges(event(17, nested(45, 4)), -1)).toMatchObject([
      { movedTo: { namespaceId: 4, linkIndex: 7 } },
    ]);
  });

  it('leaves out what it does not know', () => {
    expect(parseChanges(event(28), -1)).toEqual([]);
  });
});
