/** Disks (spec qemu-ga.md section 5). */
import type { Disk } from '../../../guest/disks.ts';
import type { DiskAddress } from '../../../guest/linux/disk-address.ts';
import type { DiskStatistics } from '../../../guest/linux/diskstats.ts';
import type { NvmeHealth } from '../../../guest/linux/nvme-health.ts';
import type { ReplyValue } from '../json/writer.ts';
import { command } from '../registry.ts';
import type { QgaContext } from './context.ts';
import { readFact } from './system-calls.ts';

export const diskCommands = [
  command({
    name: 'guest-get-disks',
    since: '5.2',
    doc: 'Disks with their partitions, device-mapper and RAID devices.',
    args: {},
    returns:
      '[{name, partition, dependencies?, address?: {pci-controller, bus-type, bus, target, unit, serial?, dev?, ccw-address?}, alias?, smart?}]',
    run: async (_args, { guest }: QgaContext) => (await guest.disks()).map(diskReply),
  }),
  command({
    name: 'guest-get-diskstats',
    since: '7.1',
    doc: "The kernel's counters for each block device.",
    args: {},
    returns: '[{name, major, minor, stats}]',
    run: async (_args, { guest, native }: QgaContext) =>
      (await readFact(() => guest.diskStatistics(), native)).map(statisticsReply),
  }),
];

/** Pure, for tests. */
export function diskReply(disk: Disk): ReplyValue {
  return {
    name: disk.node,
    partition: disk.kind === 'partition',
    dependencies: disk.dependencies ?? undefined,
    address: disk.address === null ? undefined : diskAddressReply(disk.address),
    alias: disk.alias ?? undefined,
    smart: disk.nvmeHealth === null ? undefined : smartReply(disk.nvmeHealth),
  };
}

export function diskAddressReply(address: DiskAddress): ReplyValue {
  const { pci, ccw } = address;
  return {
    // libvirt insists on it, known or not
    'pci-controller': {
      domain: pci?.domain ?? -1,
      bus: pci?.bus ?? -1,
      slot: pci?.slot ?? -1,
      function: pci?.function ?? -1,
    },
    'bus-type': address.bus,
    bus: address.busNumber,
    target: address.target,
    unit: address.unit,
    serial: address.serial ?? undefined,
    dev: address.node ?? undefined,
    'ccw-address': ccw
      ? { cssid: ccw.subsystemId, ssid: ccw.subchannelSet, subchno: ccw.subchannel, devno: ccw.device }
      : undefined,
  };
}

/** Pure, for tests. */
export function statisticsReply({ name, major, minor, counters }: DiskStatistics): ReplyValue {
  return {
    name,
    major,
    minor,
    stats: {
      'read-ios': counters.reads,
      'read-merges': counters.readMerges,
      'read-sectors': counters.readSectors,
      'read-ticks': counters.readTicks,
      'write-ios': counters.writes,
      'write-merges': counters.writeMerges,
      'write-sectors': counters.writeSectors,
      'write-ticks': counters.writeTicks,
      'ios-pgr': counters.inFlight,
      'total-ticks': counters.totalTicks,
      'weight-ticks': counters.weightedTicks,
      'discard-ios': counters.discards,
      'discard-merges': counters.discardMerges,
      'discard-sectors': counters.discardSectors,
      'discard-ticks': counters.discardTicks,
      'flush-ios': counters.flushes,
      'flush-ticks': counters.flushTicks,
    },
  };
}

function smartReply(health: NvmeHealth): ReplyValue {
  return {
    type: 'nvme',
    'critical-warning': health.criticalWarning,
    temperature: health.temperature,
    'available-spare': health.availableSpare,
    'available-spare-threshold': health.availableSpareThreshold,
    'percentage-used': health.percentageUsed,
    ...halves('data-units-read', health.dataUnitsRead),
    ...halves('data-units-written', health.dataUnitsWritten),
    ...halves('host-read-commands', health.hostReadCommands),
    ...halves('host-write-commands', health.hostWriteCommands),
    ...halves('controller-busy-time', health.controllerBusyTime),
    ...halves('power-cycles', health.powerCycles),
    ...halves('power-on-hours', health.powerOnHours),
    ...halves('unsafe-shutdowns', health.unsafeShutdowns),
    ...halves('media-errors', health.mediaErrors),
    ...halves('number-of-error-log-entries', health.errorLogEntries),
  };
}

/** 128 bits as two numbers of 64. */
function halves(name: string, value: bigint): Record<string, bigint> {
  return { [`${name}-lo`]: BigInt.asUintN(64, value), [`${name}-hi`]: value >> 64n };
}
