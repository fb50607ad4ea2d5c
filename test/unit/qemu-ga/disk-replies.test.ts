/** Replies about file systems and disks (spec qemu-ga.md section 5). */
import { describe, expect, it } from 'vitest';
import type { Disk } from '../../../src/guest/disks.ts';
import type { DiskAddress } from '../../../src/guest/linux/disk-address.ts';
import { parseNvmeHealth } from '../../../src/guest/linux/nvme-health.ts';
import { native } from '../../../src/native/index.ts';
import { diskReply, statisticsReply } from '../../../src/protocols/qemu-ga/commands/disks.ts';
import { fileSystemReply, trimReply } from '../../../src/protocols/qemu-ga/commands/filesystem.ts';
import { type ReplyValue, toParts } from '../../../src/protocols/qemu-ga/json/writer.ts';

/** As a client gets it; all numbers here are small enough for JSON.parse. */
const sent = (value: ReplyValue) => JSON.parse(toParts(value).join(''));

const address: DiskAddress = {
  bus: 'virtio',
  busNumber: 0,
  target: 0,
  unit: 0,
  pci: { domain: 0, bus: 2, slot: 3, function: 1 },
  ccw: null,
  node: '/dev/vda1',
  serial: null,
};
const addressReply = {
  'pci-controller': { domain: 0, bus: 2, slot: 3, function: 1 },
  'bus-type': 'virtio',
  bus: 0,
  target: 0,
  unit: 0,
  dev: '/dev/vda1',
};

describe('guest-get-fsinfo', () => {
  const system = { name: 'vda1', mountPoint: '/', type: 'ext4', disks: [address] };

  it('tells sizes in three ways', () => {
    const usage = { usedBytes: 1n, totalBytes: 2n, totalBytesPrivileged: 3n };
    expect(sent(fileSystemReply({ ...system, usage }))).toEqual({
      name: 'vda1',
      mountpoint: '/',
      type: 'ext4',
      'used-bytes': 1,
      'total-bytes': 2,
      'total-bytes-privileged': 3,
      disk: [addressReply],
    });
  });

  it('leaves them out if they are not known', () => {
    expect(Object.keys(sent(fileSystemReply({ ...system, usage: null })))).toEqual([
      'name',
      'mountpoint',
      'type',
      'disk',
    ]);
  });

  it('has -1 for a PCI address that is not known', () => {
    const ccw = { subsystemId: 254, subchannelSet: 0, subchannel: 1, device: 2 };
    const disks: DiskAddress[] = [{ ...address, bus: 'unknown', pci: null, ccw, serial: 'S' }];
    expect(sent(fileSystemReply({ ...system, usage: null, disks })).disk).toEqual([
      {
        ...addressReply,
        'pci-controller': { domain: -1, bus: -1, slot: -1, function: -1 },
        'bus-type': 'unknown',
        serial: 'S',
        'ccw-address': { cssid: 254, ssid: 0, subchno: 1, devno: 2 },
      },
    ]);
  });
});

describe('guest-get-disks', () => {
  const disk: Disk = {
    node: '/dev/dm-0',
    kind: 'disk',
    dependencies: ['/dev/vda2'],
    address: null,
    alias: 'vg-root',
    nvmeHealth: null,
  };

  it('leaves out what is not known', () => {
    expect(sent(diskReply(disk))).toEqual({
      name: '/dev/dm-0',
      partition: false,
      dependencies: ['/dev/vda2'],
      alias: 'vg-root',
    });
    expect(sent(diskReply({ ...disk, kind: 'partition', dependencies: null, alias: null, address }))).toEqual(
      {
        name: '/dev/dm-0',
        partition: true,
        address: addressReply,
      },
    );
  });

  it('has 25 values of an NVMe disk, those of 128 bits in halves', () => {
    const page = Buffer.from(Array.from({ length: 512 }, (_, index) => index % 251));
    const { smart } = sent(diskReply({ ...disk, nvmeHealth: parseNvmeHealth(page) }));
    expect(Object.keys(smart)).toHaveLength(26);
    expect(smart).toMatchObject({
      type: 'nvme',
      'critical-warning': 0,
      temperature: 0x0201,
      'available-spare': 3,
      'available-spare-threshold': 4,
      'percentage-used': 5,
      'data-units-read-lo': Number(page.readBigUInt64LE(32)),
      'number-of-error-log-entries-hi': Number(page.readBigUInt64LE(184)),
    });
  });
});

describe('guest-get-diskstats', () => {
  it('has what the kernel counts', () => {
    const counters = { reads: 1n, readSectors: 2n, inFlight: 3n, weightedTicks: 4n, flushTicks: 5n };
    expect(sent(statisticsReply({ name: 'sda', major: 8, minor: 0, counters }))).toEqual({
      name: 'sda',
      major: 8,
      minor: 0,
      stats: { 'read-ios': 1, 'read-sectors': 2, 'ios-pgr': 3, 'weight-ticks': 4, 'flush-ticks': 5 },
    });
  });
});

describe('guest-fstrim', () => {
  it.each([
    [
      { kind: 'trimmed', trimmedBytes: 8n, minimumBytes: 2n ** 64n - 1n } as const,
      { trimmed: 8, minimum: -1 },
    ],
    [{ kind: 'not-supported' } as const, { error: 'trim not supported' }],
    [{ kind: 'failed', step: 'trim', errno: 5 } as const, { error: 'failed to trim: Input/output error' }],
    [{ kind: 'failed', step: 'open', errno: 13 } as const, { error: 'failed to open: Permission denied' }],
  ])('%o', (outcome, reply) => {
    expect(sent(trimReply({ mountPoint: '/', ...outcome }, native))).toEqual({ path: '/', ...reply });
  });
});
