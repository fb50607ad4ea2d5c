/** The agent's plain commands by `virsh qemu-agent-command`, and libvirt's own commands that use them. */
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { DOMAIN } from '../domain.ts';
import { agentName } from '../environment.ts';
import type { Guest } from '../guest.ts';

const DAEMON = '/usr/lib/chr-agent/dist/node';
const GUEST_MAC = '52:54:00:c4:a7:01';
const GUEST_ADDRESS = '10.0.2.15';

const guestInfo = v.strictObject({
  version: v.string(),
  supported_commands: v.array(
    v.strictObject({ name: v.string(), enabled: v.boolean(), 'success-response': v.boolean() }),
  ),
});

const cpuStats = v.looseObject({
  type: v.literal('linux'),
  cpu: v.number(),
  user: v.number(),
  system: v.number(),
});
const diskStats = v.looseObject({ name: v.string(), stats: v.record(v.string(), v.number()) });

/** The commands that this test drives, all of which must be listed. */
const drivenCommands = [
  ...['guest-sync', 'guest-sync-delimited', 'guest-ping', 'guest-info', 'guest-get-time', 'guest-set-time'],
  ...['guest-get-host-name', 'guest-get-osinfo', 'guest-get-timezone', 'guest-exec', 'guest-exec-status'],
  ...['guest-file-open', 'guest-file-read', 'guest-file-write', 'guest-file-seek', 'guest-file-flush'],
  ...['guest-file-close', 'guest-network-get-interfaces', 'guest-shutdown'],
];

export function commandSuite(guest: () => Guest): void {
  /** Seconds since 1970 on the guest's clock, seen on its console. */
  const clockS = async () => Number((await guest().console.run('date +%s')).output);

  describe('virsh qemu-agent-command', () => {
    it.each([1, 2 ** 53 - 1])('guest-sync %s', async (id) => {
      expect(await guest().agent('guest-sync', { id })).toBe(id);
    });

    it('guest-sync keeps all 64 bits', async () => {
      const request = '{"execute":"guest-sync","arguments":{"id":9223372036854775807}}';
      expect(await guest().virsh('qemu-agent-command', request)).toContain('9223372036854775807');
    });

    it('guest-ping', async () => {
      expect(await guest().agent('guest-ping')).toEqual({});
    });

    it('guest-info', async () => {
      const info = v.parse(guestInfo, await guest().agent('guest-info'));
      const names = info.supported_commands
        .filter((command) => command.enabled)
        .map((command) => command.name);
      expect(names).toEqual(expect.arrayContaining(drivenCommands));
      const silent = info.supported_commands.filter((command) => !command['success-response']);
      expect(silent.map((command) => command.name)).toContain('guest-shutdown');
    });

    it('guest-get-time', async () => {
      const timeNs = v.parse(v.number(), await guest().agent('guest-get-time'));
      expect(Math.abs(timeNs / 1e9 - (await clockS()))).toBeLessThan(30);
    });

    it('guest-set-time sets the clock and the hardware clock', async () => {
      const wantedS = 2_000_000_000;
      expect(await guest().agent('guest-set-time', { time: wantedS * 1e9 })).toEqual({});
      expect((await clockS()) - wantedS).toBeLessThan(60);
      const hardware = await guest().console.run('cat /sys/class/rtc/rtc0/since_epoch');
      expect(Math.abs(Number(hardware.output) - wantedS)).toBeLessThan(60);
    });

    it('guest-get-host-name', async () => {
      expect(await guest().agent('guest-get-host-name')).toEqual({ 'host-name': 'chrguest' });
    });

    it('guest-get-osinfo', async () => {
      const kernel = (await guest().console.run('uname -r')).output.trim();
      expect(await guest().agent('guest-get-osinfo')).toMatchObject({
        ...{ id: 'debian', 'version-id': '12', 'kernel-release': kernel, machine: 'x86_64' },
        'pretty-name': 'Debian GNU/Linux 12 (bookworm)',
      });
    });

    it('guest-get-timezone', async () => {
      const zone = await guest().agent('guest-get-timezone');
      expect([
        { zone: 'CET', offset: 3600 },
        { zone: 'CEST', offset: 7200 },
      ]).toContainEqual(zone);
    });

    it('guest-network-get-interfaces', async () => {
      const interfaces = await guest().agent('guest-network-get-interfaces');
      expect(interfaces).toContainEqual(
        expect.objectContaining({
          name: 'eth0',
          'hardware-address': GUEST_MAC,
          'ip-addresses': expect.arrayContaining([
            { 'ip-address': GUEST_ADDRESS, 'ip-address-type': 'ipv4', prefix: 24 },
          ]),
          statistics: expect.objectContaining({
            'rx-bytes': expect.any(Number),
            'tx-packets': expect.any(Number),
          }),
        }),
      );
    });

    // newer than 7.2
    it.runIf(agentName === 'chr-agent')('guest-network-get-route', async () => {
      expect(await guest().agent('guest-network-get-route')).toContainEqual(
        expect.objectContaining({
          ...{ iface: 'eth0', version: 4, destination: '0.0.0.0', mask: '0.0.0.0', gateway: '10.0.2.2' },
        }),
      );
    });

    it('guest-get-cpustats', async () => {
      const cpus = v.parse(v.array(cpuStats), await guest().agent('guest-get-cpustats'));
      expect(cpus.map(({ cpu }) => cpu)).toEqual([0, 1]);
      // booting is work
      for (const { user, system } of cpus) expect(user + system).toBeGreaterThan(0);
    });

    it('guest-get-diskstats', async () => {
      const disks = v.parse(v.array(diskStats), await guest().agent('guest-get-diskstats'));
      const root = disks.find(({ name }) => name === 'vda');
      expect(root?.stats['read-sectors']).toBeGreaterThan(0);
    });

    it('answers an unknown command with an error and goes on', async () => {
      await expect(guest().agent('guest-no-such-command')).rejects.toThrow('guest-no-such-command');
      await expect(guest().agent('guest-file-close', { handle: 4711 })).rejects.toThrow(
        "handle '4711' has not been found",
      );
      expect(await guest().agent('guest-ping')).toEqual({});
    });
  });

  describe("libvirt's own commands", () => {
    it('domhostname --source agent', async () => {
      expect(await guest().virsh('domhostname', '--source', 'agent')).toBe('chrguest');
    });

    it('domifaddr --source agent', async () => {
      const table = await guest().virsh('domifaddr', '--source', 'agent');
      expect(table).toMatch(
        new RegExp(`eth0\\s+${GUEST_MAC}\\s+ipv4\\s+${GUEST_ADDRESS.replaceAll('.', '\\.')}/24`),
      );
      expect(table).toMatch(/lo\s+00:00:00:00:00:00\s+ipv4\s+127\.0\.0\.1\/8/);
    });

    it('guestinfo', async () => {
      const text = await guest().virsh('guestinfo', '--os', '--timezone', '--hostname', '--interface');
      const info = new Map(text.split('\n').map((line) => splitOnce(line)));
      expect(info.get('os.id')).toBe('debian');
      expect(info.get('os.version-id')).toBe('12');
      expect(info.get('hostname')).toBe('chrguest');
      expect(info.get('timezone.name')).toMatch(/^CES?T$/);
      const names = [...info].filter(([key]) => /^if\.\d+\.name$/.test(key)).map(([, value]) => value);
      expect(names).toEqual(expect.arrayContaining(['lo', 'eth0']));
      expect([...info.values()]).toContain(GUEST_ADDRESS);
    });

    it('domtime', async () => {
      const text = await guest().virsh('domtime');
      expect(text).toMatch(/^Time: \d+$/);
      expect(Math.abs(Number(text.slice('Time: '.length)) - (await clockS()))).toBeLessThan(30);
    });

    it('domtime --time, --sync, --now', async () => {
      await guest().virsh('domtime', '--time', '1900000000');
      expect((await clockS()) - 1_900_000_000).toBeLessThan(60);
      // from the hardware clock, which the guest's kernel was told beforehand
      await guest().console.run(`date -s @1950000000 && hwclock -w && date -s @1800000000`);
      await guest().virsh('domtime', '--sync');
      expect((await clockS()) - 1_950_000_000).toBeLessThan(60);
      await guest().virsh('domtime', '--now');
      expect(Math.abs((await clockS()) - Date.now() / 1000)).toBeLessThan(30);
    });

    it('sees the channel connected', async () => {
      const xml = await guest().virsh('dumpxml');
      expect(xml).toMatch(/name='org\.qemu\.guest_agent\.0' state='connected'/);
    });
  });

  describe.runIf(agentName === 'chr-agent')('one agent that starts at boot', () => {
    it('chr-agent status tells of it', async () => {
      const result = await guest().console.run('chr-agent status --json');
      expect(result.status).toBe(0);
      expect(JSON.parse(result.output)).toBeTypeOf('object');
    });

    it('chr-agent detect names the hypervisor', async () => {
      const result = await guest().console.run('chr-agent detect');
      expect(result.output).toMatch(/qemu|kvm|tcg/i);
    });

    it.each(['TERM', 'KILL'])('ends at SIG%s and is started again', async (signal) => {
      const gone = await guest().console.run(
        `p=$(pidof ${DAEMON}); kill -${signal} $p; n=0;
         while [ -e /proc/$p/exe ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done; test $n -lt 100`.replaceAll(
          '\n',
          ' ',
        ),
      );
      expect(gone.status).toBe(0);
      const ping = JSON.stringify({ execute: 'guest-ping' });
      const deadline = performance.now() + 60_000;
      while (!(await guest().libvirt.succeeds('qemu-agent-command', DOMAIN, ping, '--timeout', '5'))) {
        expect(performance.now()).toBeLessThan(deadline);
        await sleep(500);
      }
    });
  });
}

function splitOnce(line: string): readonly [string, string] {
  const colon = line.indexOf(':');
  return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
}
