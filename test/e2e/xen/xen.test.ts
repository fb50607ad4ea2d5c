/**
 * The xenstore protocol under real Xen (issue "Xen"): QEMU emulates a machine that boots Xen, a dom0 with the real xenstored and xl, and PV guests with
 * the agent on /dev/xen/xenbus. `xenstore-write` in dom0 is the host's only tool.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Dom0 } from './dom0.ts';
import { DomU } from './domu.ts';
import { cacheDir, reasonToSkip } from './environment.ts';

const AGENT = '/opt/chr-agent/bin/chr-agent';
const START_AGENT = `setsid ${AGENT} run >> /run/start.log 2>&1 < /dev/null &`;
/** Everything takes its time under emulation. */
const PATIENCE_MS = 60_000;

const base64 = (text: string) => Buffer.from(text).toString('base64');

describe.skipIf(reasonToSkip() !== undefined)('under real Xen', { timeout: 600_000 }, () => {
  let dom0: Dom0;
  const transcript: string[] = [];

  /** In dom0, as a host's administrator types it. */
  async function host(command: string): Promise<string> {
    const { status, output } = await dom0.run(command);
    transcript.push(`dom0# ${command}`, output.trimEnd());
    if (status !== 0) throw new Error(`dom0: ${command}: status ${status}: ${output}`);
    return output.trimEnd();
  }

  /** '' when it is not there. */
  const stored = async (path: string) => {
    const { status, output } = await dom0.run(`xenstore-read ${path}`);
    return status === 0 ? output.replace(/\n$/, '') : '';
  };
  const storedSoon = (path: string, expected: unknown) =>
    expect.poll(() => stored(path), { timeout: PATIENCE_MS, interval: 300 }).toEqual(expected);

  beforeAll(async () => {
    dom0 = await Dom0.boot();
  }, 600_000);

  afterAll(async () => {
    await dom0?.close();
    await writeFile(path.join(cacheDir, 'transcript.txt'), `${transcript.join('\n')}\n`);
  });

  describe('in a guest that owns its vm-data (XAPI)', () => {
    let guest: DomU;
    const node = (name: string) => `${guest.home}/vm-data/provision/script${name}`;
    const provision = (script: string) => host(`xenstore-write ${node('')} '${base64(script)}'`);
    const output = async () => Buffer.from(await stored(node('/output')), 'base64').toString();
    /** What the scripts of this test leave: a line each. */
    const runs = async () => (await guest.run('cat /run/runs')).output.trim().split('\n').join(' ');
    const agentPid = async () => Number(await guest.shell('pidof node'));

    beforeAll(async () => {
      guest = await DomU.start(dom0, {
        name: 'chr',
        layout: 'xapi',
        // its journals and its license on the one disk, which can be frozen
        config: `[agent]
log-level = "debug"
state-dir = "/mnt/chr-agent"
[qemu-ga]
enabled = true
method = "unix-listen"
path = "/run/qga.sock"
`,
        xenstoreData: { 'vm-data/provision/script': base64('echo boot >> /run/runs\n') },
      });
    }, 600_000);

    afterAll(async () => {
      transcript.push('--- the agent, in the guest', (await guest.run('cat /run/start.log')).output);
    });

    it('runs the script that was there at boot, once', async () => {
      await expect.poll(runs, { timeout: PATIENCE_MS }).toBe('boot');
      await storedSoon(node('/status'), 'ready');
      expect(await stored(node(''))).toBe('');
    });

    it('says in `status` that it is connected', async () => {
      const { protocols } = JSON.parse(await guest.shell(`${AGENT} status --json`));
      expect(protocols).toContainEqual(expect.objectContaining({ name: 'xenstore', state: 'connected' }));
    });

    it('runs what xenstore-write puts there, and gives its output back', async () => {
      await provision('echo written >> /run/runs; echo "hello from $(uname -s)"; sleep 3');
      await storedSoon(node('/status'), 'running');
      await storedSoon(node('/status'), 'ready');
      await host(`xenstore-ls -f ${node('')}`);
      await host(`xenstore-read ${node('/output')} | base64 -d`);
      expect(await output()).toBe('hello from Linux\n');
      expect(await stored(node('/otuput'))).toBe(await stored(node('/output')));
      expect(await stored(node(''))).toBe('');
      expect(await runs()).toBe('boot written');
    });

    it('runs the same text again, and reports a failure', async () => {
      await provision('echo again >> /run/runs; echo wrong; exit 3');
      await storedSoon(node('/status'), 'error');
      expect(await output()).toBe('wrong\n');
      await provision('echo again >> /run/runs; echo wrong; exit 3');
      await expect.poll(runs, { timeout: PATIENCE_MS }).toBe('boot written again again');
    });

    it('runs nothing for a changed permission, nor for what is no base64', async () => {
      await host(`xenstore-chmod ${node('')} n${guest.id} b0`);
      await host(`xenstore-write ${node('')} 'this is no base64!'`);
      await expect.poll(output, { timeout: PATIENCE_MS }).toMatch(/base64/);
      await storedSoon(node('/status'), 'error');
      expect(await runs()).toBe('boot written again again');
    });

    it('publishes the guest in both forms', async () => {
      await expect.poll(() => stored(`${guest.home}/data/updated`), { timeout: PATIENCE_MS }).not.toBe('');
      await host(`xenstore-ls -f ${guest.home}/attr`);
      await host(`xenstore-ls -f ${guest.home}/data`);
      const address = (await guest.shell('ip -4 -br addr show eth0')).match(/10\.9\.\d+\.2/)?.[0];
      expect(await stored(`${guest.home}/attr/vif/0/ipv4/0`)).toBe(address);
      expect(await stored(`${guest.home}/attr/eth0/ip`)).toBe(address);
      expect(await stored(`${guest.home}/attr/PVAddons/Installed`)).toBe('1');
      expect(await stored(`${guest.home}/data/os_uname`)).toBe(await guest.shell('uname -r'));
      expect(await stored(`${guest.home}/data/os_distro`)).toBe('debian');
      expect(await stored(`${guest.home}/data/meminfo_total`)).toBe(
        await guest.shell("awk '/MemTotal/ { print $2 }' /proc/meminfo"),
      );
      expect(await stored(`${guest.home}/data/volumes/0/mount_points/0`)).toBe('/mnt');
    });

    it('publishes a new address at once, and removes it when it is gone', async () => {
      await guest.shell('ip addr add 192.0.2.7/24 dev eth0');
      await storedSoon(`${guest.home}/attr/vif/0/ipv4/1`, '192.0.2.7');
      await guest.shell('ip addr del 192.0.2.7/24 dev eth0');
      await storedSoon(`${guest.home}/attr/vif/0/ipv4/1`, '');
    });

    it('limits the upload of its paravirtual interface, with fq_codel below', async () => {
      const shown = await guest.shell(`${AGENT} shaper show`);
      transcript.push('domU# chr-agent shaper show', shown);
      expect(shown).toMatch(/^eth0 +- +1 Mbit\/s .* fq_codel$/m);
    });

    it('sleeps while nothing happens', async () => {
      const pid = await agentPid();
      const usage = async () => {
        const [, ticks = ''] =
          /^(\d+)$/m.exec(await guest.shell(`awk '{ print $14 + $15 }' /proc/${pid}/stat`)) ?? [];
        return Number(ticks);
      };
      const before = await usage();
      // two ticks of the 30 s clock may fall into it
      await guest.shell('sleep 45');
      const ticks = (await usage()) - before;
      transcript.push(`--- 45 s of idling took ${ticks * 10} ms of processor time (emulated)`);
      expect(ticks).toBeLessThan(100);
    });

    it('ends at SIGTERM although the device has nothing to read, and runs nothing after its return', async () => {
      const pid = await agentPid();
      await guest.shell(
        `kill ${pid}; for i in $(seq 100); do [ -e /proc/${pid} ] || exit 0; sleep 0.2; done; exit 1`,
      );
      await guest.shell(START_AGENT);
      await storedSoon(node('/status'), 'ready');
      expect(await runs()).toBe('boot written again again');
    });

    it('reports an error, and does not run it again, when it is killed in the middle of a script', async () => {
      await provision('echo long >> /run/runs; sleep 600');
      await expect.poll(runs, { timeout: PATIENCE_MS }).toMatch(/long$/);
      await guest.shell('kill -9 $(pidof node)');
      await guest.shell(START_AGENT);
      await storedSoon(node('/status'), 'error');
      expect(await runs()).toBe('boot written again again long');
    });

    it('leaves a script alone while the disk is frozen, and takes it after the thaw', async () => {
      const ask = (command: string) =>
        guest.shell(`echo '{"execute": "${command}"}' | socat -t 20 - UNIX-CONNECT:/run/qga.sock`);
      expect(await ask('guest-fsfreeze-freeze')).toBe('{"return": 1}');
      try {
        await provision('echo thawed >> /run/runs');
        await host(`xenstore-chmod ${node('')} n${guest.id} b0`);
        await guest.shell('sleep 5');
        expect(await guest.shell(`${AGENT} status | grep frozen`)).toMatch(/file systems +frozen/);
        const newId = await guest.run(`${AGENT} license generate-new-id`);
        expect(newId.output).toMatch(/frozen/);
        // no thread of it waits for the disk
        expect(await guest.shell('cat /proc/$(pidof node)/task/*/stat')).not.toMatch(/\) D/);
        expect(await stored(node(''))).toBe(base64('echo thawed >> /run/runs'));
        expect(await runs()).toBe('boot written again again long');
      } finally {
        expect(await ask('guest-fsfreeze-thaw')).toBe('{"return": 1}');
      }
      await expect.poll(runs, { timeout: PATIENCE_MS }).toBe('boot written again again long thawed');
      await storedSoon(node('/status'), 'ready');
    });

    it('comes back after save and restore under a new domain id', async () => {
      const oldId = guest.id;
      await guest.saveAndRestore();
      expect(guest.id).not.toBe(oldId);
      transcript.push(`--- saved as domain ${oldId}, restored as domain ${guest.id}`);
      await storedSoon(`${guest.home}/attr/PVAddons/Installed`, '1');
      await expect.poll(() => stored(`${guest.home}/data/updated`), { timeout: PATIENCE_MS }).not.toBe('');
      await host(`xenstore-ls -f ${guest.home}/data`);
      await provision('echo restored >> /run/runs; xenstore-read domid');
      await expect.poll(output, { timeout: PATIENCE_MS }).toBe(`${guest.id}\n`);
      expect(await runs()).toBe('boot written again again long thawed restored');
    });
  });

  describe('in a guest that may not write below vm-data (xl)', () => {
    let guest: DomU;

    beforeAll(async () => {
      guest = await DomU.start(dom0, { name: 'xl', layout: 'xl', config: '' });
    }, 600_000);

    it('reports below data/, and names the command that the host needs', async () => {
      const script = `${guest.home}/vm-data/provision/script`;
      const reported = `${guest.home}/data/provision/script`;
      await host(`xenstore-write ${script} '${base64('echo from xl; echo x >> /run/runs')}'`);
      await storedSoon(`${reported}/status`, 'ready');
      await expect
        .poll(async () => Buffer.from(await stored(`${reported}/output`), 'base64').toString(), {
          timeout: PATIENCE_MS,
        })
        .toBe('from xl\n');
      expect(await guest.shell('cat /run/start.log')).toMatch(/xenstore-chmod/);
      expect(await guest.shell('cat /run/runs')).toBe('x');
    });
  });
});
