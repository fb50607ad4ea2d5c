/**
 * The appliance image in QEMU with 128 MB, booted by its own boot loader from each bus, with each network card and with further
 * disks: address, ping, limit, scripts and freezing on each. Then what must survive, and what must not be the same twice.
 */
import { copyFile, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Agent } from '../appliance/agent.ts';
import { askData, readPartitions } from './disk.ts';
import type { Adapter, Bus, NicModel } from './hardware.ts';
import { buildImage, type Image, reasonToSkip } from './image.ts';
import { Terminal } from './login.ts';
import { Sink } from './sink.ts';
import { Vm } from './vm.ts';

const MEMORY_MIB = 128;
const FURTHER_DISK_BYTES = 24 << 20;
/** The free level's upload. */
const LIMIT_BITS_PER_SECOND = 1_000_000;
const UPLOAD_BYTES = 300_000;
const POWER_OFF_LIMIT_MS = 60_000;
const EVENT_LIMIT_MS = 30_000;

const matrix: { bus: Bus; nic: NicModel; driver: string; adapter: Adapter; adapterDriver: string }[] = [
  { bus: 'ide', nic: 'virtio-net-pci', driver: 'virtio_net', adapter: 'pvscsi', adapterDriver: 'vmw_pvscsi' },
  { bus: 'sata', nic: 'e1000', driver: 'e1000', adapter: 'mptsas1068', adapterDriver: 'mptsas' },
  { bus: 'virtio-blk', nic: 'vmxnet3', driver: 'vmxnet3', adapter: 'lsi53c895a', adapterDriver: 'sym53c8xx' },
  { bus: 'virtio-scsi', nic: 'rtl8139', driver: '8139cp', adapter: 'pvscsi', adapterDriver: 'vmw_pvscsi' },
];

const obstacle = reasonToSkip();
const title = `appliance image: boot${obstacle === undefined ? '' : ` (skipped: ${obstacle})`}`;

describe.skipIf(obstacle !== undefined)(title, { timeout: 300_000 }, () => {
  let image: Image;
  let dir: string;
  let sink: Sink;
  const machineIds: string[] = [];
  const systemIds: string[] = [];

  beforeAll(async () => {
    image = await buildImage();
    dir = await mkdtemp(path.join(tmpdir(), 'chr-image-disks-'));
    sink = await Sink.listen();
  });
  afterAll(async () => {
    sink?.close();
    if (dir !== undefined) await rm(dir, { recursive: true, force: true });
  });

  const diskOf = (name: string) => path.join(dir, `${name}.img`);

  for (const { bus, nic, driver, adapter, adapterDriver } of matrix) {
    describe(`${bus}, ${nic}, a disk on ${adapter}`, () => {
      let vm: Vm;
      let agent: Agent;

      beforeAll(async () => {
        const further = diskOf(`${bus}-further`);
        await writeFile(further, '');
        await truncate(further, FURTHER_DISK_BYTES);
        await copyFile(image.disk, diskOf(bus));
        vm = await Vm.boot({
          disk: diskOf(bus),
          memoryMib: MEMORY_MIB,
          hardware: { bus, nic, furtherDisk: { adapter, file: further } },
        });
        agent = new Agent(vm.channel);
      });
      afterAll(() => vm?.close());

      it('gets an address by DHCP and reaches the host', async () => {
        await becomes(agent, '/sbin/ip -4 -o address show dev eth0 | cut -d" " -f7', '10.0.2.15/24');
        expect(await agent.run('basename $(readlink /sys/class/net/eth0/device/driver)')).toBe(`${driver}\n`);
        await agent.run('ping -c 1 -W 10 10.0.2.2');
      });

      it("has the free level's limit, and keeps it", async () => {
        await becomes(agent, '/sbin/tc qdisc show dev eth0 | grep -o "rate [^ ]*"', 'rate 1Mbit');
        const before = sink.receivedBytes;
        const from = performance.now();
        await agent.run(`head -c ${UPLOAD_BYTES} /dev/zero | nc -w 30 10.0.2.2 ${sink.port}`);
        await expect.poll(() => sink.receivedBytes - before, { timeout: EVENT_LIMIT_MS }).toBe(UPLOAD_BYTES);
        const seconds = (performance.now() - from) / 1000;
        expect((UPLOAD_BYTES * 8) / seconds).toBeLessThan(LIMIT_BITS_PER_SECOND * 1.1);
      });

      it('has the further disk', async () => {
        const script = `for disk in /sys/block/sd*; do
          [ "$(cat $disk/size)" != ${FURTHER_DISK_BYTES / 512} ] || cat $disk/device/../../../scsi_host/*/proc_name
        done; lsmod | cut -d" " -f1 | grep -x ${adapterDriver}`;
        expect(await agent.run(script)).toContain(`${adapterDriver}\n`);
      });

      it('freezes and thaws', async () => {
        expect(await agent.request('guest-fsfreeze-freeze')).toBe(1);
        expect(await agent.request('guest-fsfreeze-status')).toBe('frozen');
        expect(await agent.request('guest-fsfreeze-thaw')).toBe(1);
        expect(await agent.run('echo changed > /etc/changed && sync && cat /etc/changed')).toBe('changed\n');
      });

      it('tells what it has made of itself', async () => {
        machineIds.push(await agent.run('cat /etc/machine-id'));
        systemIds.push(await agent.run(printSystemId));
        const free = await agent.run(
          'awk \'/^Mem(Total|Available)/ { printf $1 int($2 / 1024) " MiB " }\' /proc/meminfo',
        );
        console.log(`${bus}: first ping after ${(vm.firstPingMs / 1000).toFixed(1)} s; ${free}`);
      });

      if (bus === 'virtio-blk') {
        it('takes a network card that is plugged in later', async () => {
          await vm.monitor([
            'netdev_add user,id=late,net=10.0.9.0/24',
            'device_add e1000,netdev=late,id=late',
          ]);
          await becomes(agent, '/sbin/ip -4 -o address show dev eth1 | cut -d" " -f7', '10.0.9.15/24');
          await becomes(agent, '/sbin/tc qdisc show dev eth1 | grep -o "rate [^ ]*"', 'rate 1Mbit');
        });
      }
      if (bus === 'ide') {
        it('is switched off by the host', async () => {
          await vm.channel.write('{"execute":"guest-shutdown"}\n');
          await vm.waitForPowerOff(POWER_OFF_LIMIT_MS);
        });
      }
    });
  }

  it('gave each copy other ids', () => {
    for (const ids of [machineIds, systemIds]) {
      expect(ids).toHaveLength(matrix.length);
      expect(new Set(ids).size).toBe(matrix.length);
    }
    for (const id of machineIds) expect(id).toMatch(/^[0-9a-f]{32}\n$/);
  });

  describe('a copy of a disk whose power was cut', () => {
    let vm: Vm;
    let agent: Agent;

    beforeAll(async () => {
      // the last of the matrix; another bus and card than before
      await copyFile(diskOf('virtio-scsi'), diskOf('copy'));
      vm = await Vm.boot({
        disk: diskOf('copy'),
        memoryMib: MEMORY_MIB,
        hardware: { bus: 'ide', nic: 'e1000' },
      });
      agent = new Agent(vm.channel);
    });
    afterAll(() => vm?.close());

    it('keeps its ids and what was changed', async () => {
      expect(await agent.run('cat /etc/machine-id')).toBe(machineIds.at(-1));
      expect(await agent.run(printSystemId)).toBe(systemIds.at(-1));
      expect(await agent.run('cat /etc/changed')).toBe('changed\n');
    });

    it('lets admin in on the console without a password, as root', async () => {
      const terminal = await Terminal.open(vm.sockets.console);
      try {
        terminal.type('');
        await terminal.expect(/chr login: $/);
        terminal.type('admin');
        await terminal.expect(/# (\x1b\[6n)?$/); // the shell asks where the cursor is
        terminal.type('echo "I am" $(id -un), $(id -u)');
        await terminal.expect(/\nI am (root|admin), 0\r/);
      } finally {
        terminal.close();
      }
    });

    it('sets a password', async () => {
      const password = Buffer.from('a \\ b:c').toString('base64');
      await agent.request('guest-set-user-password', { username: 'admin', password, crypted: false });
      expect(await agent.run('awk -F: \'$1 == "admin" { print $2 }\' /etc/shadow')).toMatch(/^\$6\$/);
    });

    it('is switched off by the power button, with the data partition clean', async () => {
      await vm.monitor(['system_powerdown']);
      await vm.waitForPowerOff(POWER_OFF_LIMIT_MS);
      const [, , data] = await readPartitions(diskOf('copy'));
      if (data === undefined) throw new Error('no data partition');
      const summary = await askData(diskOf('copy'), data, 'show_super_stats -h');
      expect(summary).toMatch(/^Filesystem state: +clean$/m);
      expect(summary).not.toContain('needs_recovery');
    });
  });
});

const printSystemId = 'chr-agent license print | awk \'$1 == "system-id:" { print $2 }\'';

/** Waits until a script's output is as wanted: the network comes up beside the agent. */
async function becomes(agent: Agent, script: string, wanted: string): Promise<void> {
  const deadline = performance.now() + EVENT_LIMIT_MS;
  let output = '';
  while (output !== `${wanted}\n`) {
    if (performance.now() > deadline) throw new Error(`${script}: ${output}, not ${wanted}`);
    output = await agent.run(`${script}; true`);
    if (output !== `${wanted}\n`) await sleep(200);
  }
}
