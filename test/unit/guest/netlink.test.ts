import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  dumpRequest,
  formatIpv6,
  parseAddress,
  parseAttributes,
  parseDump,
  parseLink,
  RTM_GETLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
} from '../../../src/guest/linux/netlink.ts';
import { NetworkFactsError, networkInterfaces } from '../../../src/guest/network.ts';

const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const attribute = (type: number, data: Uint8Array) => {
  const header = Buffer.alloc(4);
  header.writeUInt16LE(4 + data.length, 0);
  header.writeUInt16LE(type, 2);
  return Buffer.concat([header, data, Buffer.alloc((4 - (data.length % 4)) % 4)]);
};
const message = (type: number, payload: Uint8Array, flags = 2) => {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + payload.length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(flags, 6);
  return Buffer.concat([header, payload, Buffer.alloc((4 - (payload.length % 4)) % 4)]);
};
const DONE = message(3, u32(0));
const counters = (...values: number[]) => {
  const bytes = Buffer.alloc(24 * 8);
  for (const [index, value] of values.entries()) bytes.writeBigUInt64LE(BigInt(value), index * 8);
  return bytes;
};

/** struct ifinfomsg and attributes. */
const link = (index: number, name: string, flags: number, ...attributes: Buffer[]) => {
  const head = Buffer.alloc(16);
  head.writeUInt16LE(1, 2);
  head.writeInt32LE(index, 4);
  head.writeUInt32LE(flags, 8);
  return message(RTM_NEWLINK, Buffer.concat([head, attribute(3, Buffer.from(`${name}\0`)), ...attributes]));
};
/** struct ifaddrmsg and attributes. */
const address = (family: number, prefix: number, scope: number, index: number, ...attributes: Buffer[]) => {
  const head = Buffer.from([family, prefix, 0, scope, 0, 0, 0, 0]);
  head.writeUInt32LE(index, 4);
  return message(RTM_NEWADDR, Buffer.concat([head, ...attributes]));
};

describe('dump', () => {
  it('request: struct nlmsghdr with REQUEST|DUMP and an empty ifinfomsg', () => {
    expect(dumpRequest(RTM_GETLINK).toString('hex')).toBe(
      ['20000000', '1200', '0103', '01000000', '00000000', '00'.repeat(16)].join(''),
    );
  });

  it('ends at DONE, with its errno', () => {
    expect(parseDump(Buffer.concat([message(16, u32(7)), DONE, message(16, u32(8))]))).toMatchObject({
      messages: [{ type: 16, payload: u32(7) }],
      errno: 0,
      interrupted: false,
    });
    expect(parseDump(message(2, u32(-95 >>> 0)))).toMatchObject({ messages: [], errno: 95 });
    expect(parseDump(message(3, u32(-16 >>> 0)))).toMatchObject({ errno: 16 });
  });

  it('tells that the tables changed meanwhile', () => {
    expect(parseDump(Buffer.concat([message(16, u32(1), 0x12), DONE])).interrupted).toBe(true);
  });

  it('a message that is cut off: EBADMSG', () => {
    expect(parseDump(message(16, u32(7)).subarray(0, 18)).errno).toBe(74);
    expect(parseDump(Buffer.alloc(7)).errno).toBe(74);
    expect(parseDump(Buffer.alloc(16)).errno).toBe(74);
  });

  it('survives anything', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.constantFrom(RTM_NEWLINK, RTM_NEWADDR),
        (bytes, type) => {
          const payload = Buffer.from(bytes);
          parseDump(payload);
          parseAttributes(payload, 0);
          parseLink({ type, flags: 0, payload });
          parseAddress({ type, flags: 0, payload });
        },
      ),
    );
  });

  it('attributes come back as they were, without their flag bits', () => {
    const entries = fc.uniqueArray(
      fc.tuple(fc.integer({ min: 0, max: 0x3fff }), fc.uint8Array({ maxLength: 9 })),
      {
        selector: ([type]) => type,
      },
    );
    fc.assert(
      fc.property(entries, (list) => {
        const payload = Buffer.concat(list.map(([type, data]) => attribute(type | 0x8000, data)));
        expect([...parseAttributes(payload, 0)]).toEqual(
          list.map(([type, data]) => [type, Buffer.from(data)]),
        );
      }),
    );
  });
});

describe('IPv6 text as inet_ntop gives it', () => {
  it.each([
    ['00000000000000000000000000000000', '::'],
    ['00000000000000000000000000000001', '::1'],
    ['fe800000000000000000000000000001', 'fe80::1'],
    ['20010db8000000000001000000000001', '2001:db8::1:0:0:1'],
    ['20010db8000100000001000000000001', '2001:db8:1:0:1::1'],
    ['20010db8000100010001000100010001', '2001:db8:1:1:1:1:1:1'],
    ['20010db8000000010001000100010001', '2001:db8:0:1:1:1:1:1'],
    ['20010000000000000000000000000000', '2001::'],
    ['00000000000000000000ffffc0000201', '::ffff:192.0.2.1'],
    ['000000000000000000000000c0000201', '::192.0.2.1'],
    ['0000000000000000000000000000abcd', '::abcd'],
    ['00000000000000000001ffffc0000201', '::1:ffff:c000:201'],
  ])('%s', (hex, text) => {
    expect(formatIpv6(Buffer.from(hex, 'hex'))).toBe(text);
  });
});

describe('network interfaces', () => {
  const links = [
    link(1, 'lo', 0x10049, attribute(1, Buffer.alloc(6)), attribute(4, u32(65_536))),
    link(
      7,
      'eth0',
      0x1003,
      attribute(1, Buffer.from('02FC00ABCDEF', 'hex')),
      attribute(4, u32(1500)),
      attribute(23, counters(1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 100)),
    ),
    link(9, 'tun0', 0x10d1),
  ];
  const addresses = [
    address(2, 8, 254, 1, attribute(1, Buffer.from([127, 0, 0, 1])), attribute(3, Buffer.from('lo\0'))),
    address(2, 24, 0, 7, attribute(2, Buffer.from([192, 0, 2, 7])), attribute(3, Buffer.from('eth0:1\0'))),
    // a peer: IFA_ADDRESS is the other end
    address(2, 32, 0, 9, attribute(1, Buffer.from([10, 0, 0, 2])), attribute(2, Buffer.from([10, 0, 0, 1]))),
    address(10, 64, 253, 7, attribute(1, Buffer.from('fe80000000000000000000000000000a', 'hex'))),
    address(7, 8, 0, 7, attribute(1, Buffer.from([1]))),
    address(2, 8, 0, 99, attribute(1, Buffer.from([1, 2, 3, 4]))),
  ];
  const kernel = (answers: (request: number) => Buffer | number) => ({
    netlinkDump: (request: Uint8Array) => answers(request[4] ?? 0),
    errorText: (errno: number) => `error ${errno}`,
  });

  it('in the order of the dump, also without address or down', () => {
    const found = networkInterfaces(
      kernel((type) => Buffer.concat([...(type === RTM_GETLINK ? links : addresses), DONE])),
    );
    expect(found).toEqual([
      {
        index: 1,
        name: 'lo',
        hardwareAddress: '00:00:00:00:00:00',
        addresses: [{ family: 'ipv4', address: '127.0.0.1', prefixLength: 8, label: 'lo', scope: 'host' }],
        statistics: null,
        up: true,
        running: true,
        loopback: true,
        mtuBytes: 65_536,
      },
      {
        index: 7,
        name: 'eth0',
        hardwareAddress: '02:fc:00:ab:cd:ef',
        addresses: [
          { family: 'ipv4', address: '192.0.2.7', prefixLength: 24, label: 'eth0:1', scope: 'global' },
          { family: 'ipv6', address: 'fe80::a', prefixLength: 64, label: 'eth0', scope: 'link' },
        ],
        statistics: {
          rxPackets: 1n,
          txPackets: 2n,
          rxBytes: 3n,
          txBytes: 4n,
          rxErrors: 5n,
          txErrors: 6n,
          rxDropped: 107n,
          txDropped: 8n,
        },
        up: true,
        running: false,
        loopback: false,
        mtuBytes: 1500,
      },
      expect.objectContaining({
        name: 'tun0',
        hardwareAddress: null,
        addresses: [
          { family: 'ipv4', address: '10.0.0.1', prefixLength: 32, label: 'tun0', scope: 'global' },
        ],
      }),
    ]);
  });

  it('asks again when the tables changed, not for ever', () => {
    let asked = 0;
    const changing = kernel(() => {
      asked += 1;
      return Buffer.concat([message(16, Buffer.alloc(16), asked < 3 ? 0x10 : 0), DONE]);
    });
    networkInterfaces(changing);
    expect(asked).toBe(4);
    networkInterfaces(kernel(() => Buffer.concat([message(16, Buffer.alloc(16), 0x10), DONE])));
  });

  it('an error of the kernel', () => {
    expect(() => networkInterfaces(kernel(() => -97))).toThrow(NetworkFactsError);
    expect(() => networkInterfaces(kernel(() => message(2, u32(-95 >>> 0))))).toThrow('error 95');
  });
});
