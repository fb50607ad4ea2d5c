/**
 * Two copies of the appliance image under real libvirt, connected by a wire: the virsh commands of a host's administrator, and the
 * license's limit as the other guest sees it (issue 10). Only in the long run.
 */
import { copyFile, mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cacheDir, longRun, reasonToSkip } from '../environment.ts';
import { beginTranscript, Libvirt, note } from '../libvirt.ts';
import { buildImage } from './image.ts';

const BOOT_LIMIT_MS = 180_000;
const SHUTDOWN_LIMIT_MS = 120_000;
const SCRIPT_LIMIT_MS = 60_000;
const MEASURED_S = 10;
const FREE_BITS_PER_SECOND = 1_000_000;
const PATIENCE = { timeout: 30_000, interval: 500 };
/** The guests, and the UDP ports that are the ends of their wire. */
const GUESTS = { left: { own: 47_001, far: 47_002 }, right: { own: 47_002, far: 47_001 } } as const;
type Name = keyof typeof GUESTS;

const reply = v.object({ return: v.unknown() });
const started = v.object({ pid: v.number() });
const status = v.object({
  exited: v.boolean(),
  exitcode: v.optional(v.number()),
  'out-data': v.optional(v.string()),
});

function domainXml(name: Name, disk: string, channel: string): string {
  const { own, far } = GUESTS[name];
  return `<domain type='qemu'>
  <name>${name}</name>
  <memory unit='MiB'>128</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='allow'>qemu64</model></cpu>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='unsafe' discard='unmap'/>
      <source file='${disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    <controller type='virtio-serial'/>
    <channel type='unix'>
      <source mode='bind' path='${channel}'/>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <interface type='user'><model type='virtio'/></interface>
    <interface type='udp'>
      <source address='127.0.0.1' port='${far}'><local address='127.0.0.1' port='${own}'/></source>
      <model type='virtio'/>
    </interface>
    <video><model type='none'/></video>
    <memballoon model='none'/>
  </devices>
</domain>
`;
}

const obstacle = longRun ? reasonToSkip() : 'only in the long run';

describe.skipIf(obstacle !== undefined)('the appliance under libvirt', { timeout: 300_000 }, () => {
  let libvirt: Libvirt;

  const virsh = async (command: string, name: Name, ...args: string[]) =>
    (await libvirt.virsh(command, name, ...args)).trim();
  const agent = async (name: Name, execute: string, args: Record<string, unknown> = {}) => {
    const request = JSON.stringify({ execute, arguments: args });
    const text = await virsh('qemu-agent-command', name, request, '--timeout', '30');
    return v.parse(reply, JSON.parse(text)).return;
  };
  const start = async (name: Name, script: string): Promise<number> => {
    const data = Buffer.from(script).toString('base64');
    const exec = await agent(name, 'guest-exec', { 'input-data': data, 'capture-output': true });
    return v.parse(started, exec).pid;
  };
  /** @returns the script's output */
  const end = async (name: Name, pid: number): Promise<string> => {
    const limit = performance.now() + SCRIPT_LIMIT_MS;
    while (performance.now() < limit) {
      const now = v.parse(status, await agent(name, 'guest-exec-status', { pid }));
      const output = Buffer.from(now['out-data'] ?? '', 'base64').toString();
      if (now.exited && now.exitcode !== 0) throw new Error(`exit code ${now.exitcode}: ${output}`);
      if (now.exited) return output.trim();
      await sleep(200);
    }
    throw new Error(`script ${pid} does not end`);
  };
  const run = async (name: Name, script: string) => end(name, await start(name, script));
  const answers = async (name: Name) => {
    const ping = JSON.stringify({ execute: 'guest-ping' });
    const limit = performance.now() + BOOT_LIMIT_MS;
    while (!(await libvirt.succeeds('qemu-agent-command', name, ping, '--timeout', '5'))) {
      if (performance.now() > limit) throw new Error(`${name} does not answer`);
      await sleep(200);
    }
  };
  const state = async (name: Name) => (await libvirt.virshQuietly('domstate', name)).trim();

  beforeAll(async () => {
    beginTranscript('two appliances under libvirt');
    const { disk } = await buildImage();
    await mkdir(path.join(cacheDir, 'log'), { recursive: true });
    const runDir = await mkdtemp(path.join(cacheDir, 'run-'));
    libvirt = await Libvirt.start(runDir);
    for (const name of ['left', 'right'] as const) {
      const copy = path.join(runDir, `${name}.img`);
      await copyFile(disk, copy);
      const xml = path.join(runDir, `${name}.xml`);
      await writeFile(xml, domainXml(name, copy, path.join(runDir, `${name}.sock`)));
      await libvirt.virsh('define', xml);
      await libvirt.virsh('start', name);
      await answers(name);
    }
  }, 600_000);
  afterAll(() => libvirt?.close());

  it('tells of itself', async () => {
    await expect
      .poll(() => virsh('domifaddr', 'left', '--source', 'agent'), PATIENCE)
      .toMatch(/eth0 +52:54:\S+ +ipv4 +10\.0\.2\.15\/24/);
    expect(await virsh('domhostname', 'left', '--source', 'agent')).not.toBe('');
    expect(await virsh('guestinfo', 'left')).toMatch(/os\.name[\s\S]*fs\.0\.mountpoint/);
    expect(await virsh('domfsinfo', 'left')).toMatch(/vda\d? +ext4/);
    const guestS = Number((await virsh('domtime', 'left')).replace('Time: ', ''));
    expect(Math.abs(guestS - Date.now() / 1000)).toBeLessThan(60);
    expect(await virsh('guestvcpus', 'left')).toMatch(/^online +: 0$/m);
  });

  it('freezes, thaws and trims', async () => {
    await virsh('domfsfreeze', 'left');
    try {
      expect(await agent('left', 'guest-fsfreeze-status')).toBe('frozen');
    } finally {
      await virsh('domfsthaw', 'left');
    }
    expect(await agent('left', 'guest-fsfreeze-status')).toBe('thawed');
    await virsh('domfstrim', 'left');
  });

  it('takes passwords and the time', async () => {
    await virsh('set-user-password', 'left', 'admin', 'secret');
    expect(await run('left', 'awk -F: \'$1 == "admin" { print $2 }\' /etc/shadow')).toMatch(/^\$/);
    await virsh('domtime', 'left', '--time', '1900000000');
    try {
      const aheadS = Number(await run('left', 'date +%s')) - 1_900_000_000;
      expect(Math.abs(aheadS)).toBeLessThan(60);
    } finally {
      await virsh('domtime', 'left', '--now');
    }
  });

  it('lets a script configure the network, and reaches the other guest', async () => {
    for (const [name, last] of [
      ['left', 1],
      ['right', 2],
    ] as const)
      await run(
        name,
        `/sbin/ip link set eth1 up; /sbin/ip address add 192.0.2.${last}/24 dev eth1; echo configured ${last}`,
      );
    expect(await run('left', 'ping -c 1 -W 10 192.0.2.2')).toContain('1 packets received');
  });

  it('sends what the license lets through, as the other guest sees it', async () => {
    const receiver = await start(
      'right',
      // at the end of its input nc would end the connection
      `{ sleep 60 | nc -l -p 5001; } > /dev/null 2>&1 & sleep 5
now() { echo $(cut -d' ' -f1 /proc/uptime) $(cat /sys/class/net/eth1/statistics/rx_bytes); }
now; sleep ${MEASURED_S}; now`,
    );
    await start('left', 'sleep 1; head -c 20000000 /dev/zero | nc 192.0.2.2 5001');
    const measured = await end('right', receiver);
    const [fromS = 0, fromBytes = 0, toS = 0, toBytes = 0] = measured.split(/\s+/).map(Number);
    const rate = ((toBytes - fromBytes) * 8) / (toS - fromS);
    note(`upload of the other guest: ${Math.round(rate)} bit/s`);
    expect(rate).toBeGreaterThan(0.95 * FREE_BITS_PER_SECOND);
    expect(rate).toBeLessThan(1.03 * FREE_BITS_PER_SECOND);
  });

  it('boots anew and shuts down', async () => {
    const bootId = () => run('left', 'cat /proc/sys/kernel/random/boot_id');
    const before = await bootId();
    await virsh('reboot', 'left', '--mode', 'agent');
    await expect
      .poll(() => bootId().catch(() => before), { timeout: BOOT_LIMIT_MS, interval: 1000 })
      .not.toBe(before);
    for (const name of ['left', 'right'] as const) {
      await virsh('shutdown', name, '--mode', 'agent');
      await expect.poll(() => state(name), { timeout: SHUTDOWN_LIMIT_MS, interval: 500 }).toBe('shut off');
    }
  });
});
