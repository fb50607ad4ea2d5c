/** The .deb in a Debian guest under a real systemd: installation, restart, upgrade, removal (issue 10). Only in the long run. */
import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildPackage } from '../../integration/package/package-build.ts';
import { agentPid, endAgent, rootIsWritable, shell } from '../agent-process.ts';
import { longRun, reasonToSkip } from '../environment.ts';
import { Guest } from '../guest.ts';

const execute = promisify(execFile);
const DPKG_LIMIT_MS = 180_000;
const SHUTDOWN_LIMIT_MS = 180_000;
/** The guard thaws within a second, else the next daemon; all under emulation. */
const THAWED_AFTER_S = 30;
const PATIENCE = { timeout: 60_000, interval: 500 };

const started = v.object({ pid: v.number() });
const status = v.object({
  exited: v.boolean(),
  exitcode: v.optional(v.number()),
  'out-data': v.optional(v.string()),
});

const obstacle = longRun ? reasonToSkip() : 'only in the long run';

describe.skipIf(obstacle !== undefined)('the .deb under systemd', { timeout: 600_000 }, () => {
  let files: string;
  let prepared: Guest | undefined;
  const guest = () => {
    if (prepared === undefined) throw new Error('the guest did not come up');
    return prepared;
  };

  beforeAll(async () => {
    files = await mkdtemp(path.join(tmpdir(), 'systemd-'));
    const { deb, directory } = buildPackage();
    const newer = path.join(files, 'newer');
    await execute('dpkg-deb', ['-R', deb, newer]);
    await execute('sed', ['-i', 's/^Version: .*/&+1/', path.join(newer, 'DEBIAN/control')]);
    const build = ['--root-owner-group', '-Znone', '--build', newer, path.join(files, 'newer.deb')];
    await execute('dpkg-deb', build);
    prepared = await Guest.prepare('the .deb in a guest with systemd', async (root) => {
      await rm(path.join(root, 'etc/systemd/system/multi-user.target.wants/e2e-agent.service'));
      await copyFile(deb, path.join(root, 'root/chr-agent.deb'));
      await copyFile(path.join(files, 'newer.deb'), path.join(root, 'root/newer.deb'));
    });
    await rm(directory, { recursive: true });
    await prepared.boot('systemd', false);
  }, 600_000);

  afterAll(async () => {
    await prepared?.close();
    await rm(files, { recursive: true, force: true });
  });

  const dpkg = (words: string) => shell(guest(), `dpkg ${words}`, DPKG_LIMIT_MS);
  const property = (name: string) => shell(guest(), `systemctl show -P ${name} chr-agent.service`);
  const version = () => shell(guest(), `dpkg-query -W -f '\${Version}' chr-agent`);
  const systemId = async () => {
    const text = await shell(guest(), 'chr-agent license print');
    return /system[ -]id: *(\S+)/.exec(text)?.[1] ?? `none in: ${text}`;
  };
  const qdiscs = () => shell(guest(), 'tc qdisc show dev eth0');

  async function runScript(text: string): Promise<v.InferOutput<typeof status>> {
    const data = Buffer.from(text).toString('base64');
    const { pid } = v.parse(
      started,
      await guest().agent('guest-exec', { 'input-data': data, 'capture-output': true }),
    );
    const limit = performance.now() + DPKG_LIMIT_MS;
    for (;;) {
      // the agent may be restarted meanwhile
      const now = v.safeParse(
        status,
        await guest()
          .agent('guest-exec-status', { pid })
          .catch(() => null),
      );
      if (now.success && now.output.exited) return now.output;
      if (performance.now() > limit) throw new Error('the script does not end');
      await sleep(500);
    }
  }

  it('starts the service when it is installed, in the place of qemu-guest-agent', async () => {
    await dpkg('-i /root/chr-agent.deb');
    await guest().waitForAnswer();
    expect(await shell(guest(), 'systemctl is-enabled chr-agent')).toBe('enabled');
    expect(await property('ActiveState')).toBe('active');
    expect(await shell(guest(), "dpkg -s qemu-guest-agent | grep '^Status:' || true")).not.toMatch(
      / installed$/,
    );
    await expect.poll(qdiscs, PATIENCE).toContain('tbf c4a0:');
  });

  it('is protected from the out-of-memory killer, its scripts are not', async () => {
    const pid = await agentPid(guest());
    expect(await shell(guest(), `cat /proc/${pid}/oom_score_adj`)).toBe('-900');
    expect(await shell(guest(), `grep locked /proc/${pid}/limits`)).toContain('unlimited');
    const { exitcode, 'out-data': output = '' } = await runScript('cat /proc/self/oom_score_adj\n');
    expect([exitcode, Buffer.from(output, 'base64').toString()]).toEqual([0, '0\n']);
  });

  it('comes back after kill -9', async () => {
    const before = await agentPid(guest());
    await endAgent(guest(), 'KILL');
    await guest().waitForAnswer();
    expect(await agentPid(guest())).not.toBe(before);
  });

  it('leaves nothing frozen after kill -9', async () => {
    expect(await guest().agent('guest-fsfreeze-freeze', undefined, { timeoutS: 60 })).toBeGreaterThan(0);
    await shell(guest(), `kill -KILL $(pidof /usr/lib/chr-agent/dist/node)`);
    expect(await rootIsWritable(guest(), THAWED_AFTER_S)).toBe(true);
    await guest().waitForAnswer();
    expect(await guest().agent('guest-fsfreeze-status')).toBe('thawed');
  });

  it('is upgraded: state stays, the new one answers', async () => {
    const [before, id, old] = [await agentPid(guest()), await systemId(), await version()];
    await dpkg('-i /root/newer.deb');
    await guest().waitForAnswer();
    expect(await version()).toBe(`${old}+1`);
    expect(await agentPid(guest())).not.toBe(before);
    expect(await systemId()).toBe(id);
    expect(await qdiscs()).toContain('tbf c4a0:');
  });

  it('is replaced by a script of its own, whose result the host gets', async () => {
    const before = await agentPid(guest());
    const { exitcode, 'out-data': output = '' } = await runScript('dpkg -i /root/chr-agent.deb\n');
    expect([exitcode, Buffer.from(output, 'base64').toString()]).toEqual([
      0,
      expect.stringContaining('chr-agent'),
    ]);
    await expect.poll(() => agentPid(guest()).catch(() => before), PATIENCE).not.toBe(before);
    await guest().waitForAnswer();
    expect(await version()).not.toContain('+1');
  });

  it('is there early after a boot, with the same system id', async () => {
    const id = await systemId();
    await guest().virsh('shutdown', '--mode', 'agent');
    await guest().waitForShutOff(SHUTDOWN_LIMIT_MS);
    await guest().boot('systemd');
    expect(await systemId()).toBe(id);
    const activeAt = async (unit: string) =>
      Number(await shell(guest(), `systemctl show -P ActiveEnterTimestampMonotonic ${unit}`));
    await expect.poll(() => activeAt('multi-user.target'), PATIENCE).toBeGreaterThan(0);
    expect(await activeAt('chr-agent.service')).toBeLessThan(await activeAt('basic.target'));
  });

  it('is removed without a limit left behind, and purged with all that it knew', async () => {
    await dpkg('-r chr-agent');
    expect(await shell(guest(), 'systemctl is-active chr-agent || true')).not.toBe('active');
    expect(await qdiscs()).not.toContain('c4a0:');
    expect(await rootIsWritable(guest(), THAWED_AFTER_S)).toBe(true);
    expect(await shell(guest(), 'ls -d /var/lib/chr-agent')).toBe('/var/lib/chr-agent');
    await dpkg('-P chr-agent');
    expect(
      await shell(guest(), 'ls -d /var/lib/chr-agent /etc/chr-agent /usr/lib/chr-agent 2> /dev/null || true'),
    ).toBe('');
  });
});
