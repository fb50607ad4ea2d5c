/** The transcripts were sent by open-vm-tools 12.2 in a network namespace with two interfaces. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeDiskJson, decodeDiskList } from '../../hosts/vmx/codecs/disks.ts';
import { decodeNics } from '../../hosts/vmx/codecs/nics.ts';
import { decodeOsDetails } from '../../hosts/vmx/codecs/os-details.ts';
import { decodeStatistics } from '../../hosts/vmx/codecs/statistics.ts';
import { XdrError, type XdrReader, xdrReader } from '../../hosts/vmx/codecs/xdr.ts';

const NICS = Buffer.from(
  `00000003 00000001 00000002
  00000011 37323a37363a32353a61393a63313a3436 000000 00000000 00000000 00000000 00000000 00000000
  00000011 30323a30303a35653a30303a35333a3031 000000
    00000002 00000001 00000004 c000020a 00000018 00000000 00000001 00000001
             00000002 00000010 20010db8000000000000000000000010 00000040 00000000 00000001 00000005
    00000000 00000000 00000000 00000000
  00000002
    00000001 00000004 00000000 00000000 00000001 00000001 00000004 c0000201 00000001 00000000 00000000
    00000002 00000010 20010db8000000000000000000000000 00000040 00000000 00000001 00000000 00000100
  00000001
    00000001 0000000d 67756573742e6578616d706c65 000000
    00000001 00000007 6578616d706c65 00
    00000001 00000001 00000004 c0000235
    00000001 00000007 6578616d706c65 00
  00000000 00000000 00000000`.replace(/\s/g, ''),
  'hex',
);

describe('NICs, version 3 (section 6.7)', () => {
  it('reads a report', () => {
    expect(decodeNics(NICS)).toEqual({
      nics: [
        {
          mac: '72:76:25:a9:c1:46',
          ips: [],
          dns: undefined,
          wins: undefined,
          dhcp4: undefined,
          dhcp6: undefined,
        },
        {
          mac: '02:00:5e:00:53:01',
          ips: [
            { type: 1, address: '192.0.2.10', prefixLength: 24, origin: undefined, status: 1 },
            { type: 2, address: '2001:db8::10', prefixLength: 64, origin: undefined, status: 5 },
          ],
          dns: undefined,
          wins: undefined,
          dhcp4: undefined,
          dhcp6: undefined,
        },
      ],
      routes: [
        {
          destination: { type: 1, address: '0.0.0.0' },
          prefixLength: 0,
          nextHop: { type: 1, address: '192.0.2.1' },
          nic: 1,
          type: 0,
          metric: 0,
        },
        {
          destination: { type: 2, address: '2001:db8::' },
          prefixLength: 64,
          nextHop: undefined,
          nic: 1,
          type: 0,
          metric: 256,
        },
      ],
      dns: {
        host: 'guest.example',
        domain: 'example',
        servers: [{ type: 1, address: '192.0.2.53' }],
        searchSuffixes: ['example'],
      },
      wins: undefined,
      dhcp4: undefined,
      dhcp6: undefined,
    });
  });

  it('takes nothing but a whole report', () => {
    for (let size = 0; size < NICS.length; size += 4)
      expect(() => decodeNics(NICS.subarray(0, size))).toThrow(XdrError);
    expect(() => decodeNics(Buffer.concat([NICS, Buffer.alloc(4)]))).toThrow('too many');
    const other = Buffer.from(NICS);
    other.writeUInt32BE(2, 0);
    expect(() => decodeNics(other)).toThrow('version 2');
  });
});

describe('XDR', () => {
  it('reads opaque data of any length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (value) => {
        const size = Buffer.alloc(4);
        size.writeUInt32BE(value.length);
        const padding = Buffer.alloc((4 - (value.length % 4)) % 4);
        const xdr = xdrReader(Buffer.concat([size, value, padding]));
        expect(xdr.opaque(40).equals(value)).toBe(true);
        xdr.end();
      }),
    );
  });

  it.each([
    ['a bool of 2', '00000002', (xdr: XdrReader) => xdr.bool()],
    ['a string beyond its limit', '00000005 4141414141000000', (xdr: XdrReader) => xdr.string(4)],
    ['dirty padding', '00000001 41000001', (xdr: XdrReader) => xdr.string(4)],
    ['a long array', '00000003', (xdr: XdrReader) => xdr.array(2, () => 0)],
  ] as const)('refuses %s', (_name, hex, read) => {
    expect(() => read(xdrReader(Buffer.from(hex.replaceAll(' ', ''), 'hex')))).toThrow(XdrError);
  });
});

describe('OS details (section 6.5)', () => {
  const report = (details: string) => {
    const bytes = Buffer.alloc(648 + details.length + 1);
    bytes.writeUInt32LE(1);
    bytes.write('debian12-64', 4);
    bytes.write('Linux 6.1.0 Debian GNU/Linux 12 (bookworm)', 133);
    bytes.write(details, 648);
    return bytes;
  };

  it('reads a report', () => {
    const { shortName, fullName, details } = decodeOsDetails(
      report("architecture='X86' prettyName='Debian 12 (x)'"),
    );
    expect(shortName).toBe('debian12-64');
    expect(fullName).toBe('Linux 6.1.0 Debian GNU/Linux 12 (bookworm)');
    expect([...details]).toEqual([
      ['architecture', 'X86'],
      ['prettyName', 'Debian 12 (x)'],
    ]);
  });

  it('refuses another shape', () => {
    expect(() => decodeOsDetails(report('architecture=X86'))).toThrow('not understood');
    expect(() => decodeOsDetails(Buffer.concat([report(''), Buffer.alloc(1)]))).toThrow('one NUL');
    const dirty = report('');
    dirty[646] = 1;
    expect(() => decodeOsDetails(dirty)).toThrow('padding');
    dirty[0] = 2;
    expect(() => decodeOsDetails(dirty)).toThrow('version 2');
  });
});

describe('disks (section 6.6)', () => {
  it('reads the JSON form', () => {
    const text =
      '{\n"version":"1",\n"disks":[\n{"name":"Lw==","free":"81569255424","size":"270553174016","fstype":"ext4"},\n' +
      '{"name":"L2E=","free":"1","size":"2"}\n]}';
    expect(decodeDiskJson(text)).toEqual([
      { name: '/', freeBytes: 81569255424n, sizeBytes: 270553174016n, fstype: 'ext4' },
      { name: '/a', freeBytes: 1n, sizeBytes: 2n },
    ]);
    expect(() => decodeDiskJson(text.replaceAll('\n', ''))).toThrow('unusual shape');
  });

  it('reads the list', () => {
    const list = Buffer.alloc(1 + 116 + 2);
    list[0] = 1;
    list.writeBigUInt64LE(5n, 1);
    list.writeBigUInt64LE(9n, 9);
    list.write('/mnt', 17);
    expect(decodeDiskList(list)).toEqual([{ name: '/mnt', freeBytes: 5n, sizeBytes: 9n }]);
    expect(() => decodeDiskList(list.subarray(1))).toThrow('disk list');
  });
});

describe('statistics (section 6.8)', () => {
  const LEGACY = `0500000001040000 78fe7f0100000000 ${'00'.repeat(96)}`;
  const items = (hex: string) => Buffer.from((LEGACY + hex).replace(/\s/g, ''), 'hex');

  it('reads a report', () => {
    const report = items(`
      ae000000 0a005f746f6f6c732f763100 01000b 010009 0200 0308 0200 0008
      ac000000 010006 010009 02000308 0400 78fe7f01
      ac000000 010009 010009 02000308 0000
      ac000000 010002 01000b 010042 0400 688b4542
      2c000000 01003f 01000b 010002`);
    expect(decodeStatistics(report)).toEqual({
      legacy: { memTotalKib: 25165432n, hugePagesTotal: 0n },
      nameSpace: '_tools/v1',
      items: [
        { id: 11, valueType: 9, unit: 0x0803, value: 2048 },
        { id: 6, valueType: 9, unit: 0x0803, value: 25165432 },
        { id: 9, valueType: 9, unit: 0x0803, value: 0 },
        { id: 2, valueType: 11, unit: 0x42, value: 49.386138916015625 },
        { id: 63, valueType: 11, unit: 0x02, value: undefined },
      ],
    });
  });

  it.each([
    ['an item that runs past the end', '2c000000 01003f 0100', /./],
    ['a flag that is not known', '01000000', /flags/],
    ['an integer of three bytes', 'ac000000 010009 010009 02000308 0300 010203', /3 bytes/],
    ['an integer wider than needed', 'ac000000 010009 010009 02000308 0200 0100', /more bytes/],
  ])('refuses %s', (_name, hex, message) => {
    expect(() => decodeStatistics(items(hex))).toThrow(message);
  });
});
