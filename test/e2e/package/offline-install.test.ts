/**
 * `chr-agent install --root` into a Debian image that is not running, then that image under a real systemd: its start, what the unit
 * asks of systemd, and that a freeze never outlives the agent although systemd cleans up the unit's processes. Only in the long run.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  AGENT_PROGRAM,
  agentPid,
  DATA_MOUNT,
  mountDataDisk,
  rootIsWritable,
  seeReboot,
  shell,
  thawAnyway,
} from '../agent-process.ts';
import { longRun, projectDir, reasonToSkip } from '../environment.ts';
import { Guest } from '../guest.ts';
import { note } from '../libvirt.ts';

const execute = promisify(execFile);
const FILE_SYSTEMS = 2;
/** For pgrep -f; does not match the shell that runs pgrep. */
const GUARD = '[c]hr-agent-helper guard';
/** The guard thaws at once, else the next daemon (RestartSec, start); all under emulation. */
const THAWED_AFTER_S = 30;

const obstacle = longRun ? reasonToSkip() : 'only in the long run';

describe.skipIf(obstacle !== undefined)('offline installation', { timeout: 300_000 }, () => {
  let prepared: Guest | undefined;
  let said = '';
  const guest = () => {
    if (prepared === undefined) throw new Error('the guest did not come up');
    return prepared;
  };

  beforeAll(async () => {
    const tree = await mkdtemp(path.join(tmpdir(), 'package-tree-'));
    try {
      await execute(path.join(projectDir, 'packaging/tree'), [tree]);
      prepared = await Guest.prepare('chr-agent install --root, then systemd', async (root) => {
        await rm(path.join(root, 'etc/systemd/system/multi-user.target.wants/e2e-agent.service'));
        const words = ['install', '--root', root, '--disable-others'];
        said = (await execute(path.join(tree, 'usr/bin/chr-agent'), words)).stdout;
      });
    } finally {
      await rm(tree, { recursive: true });
    }
    await prepared.boot('systemd');
  }, 600_000);

  afterAll(() => prepared?.close());

  const properties = async (...names: string[]) =>
    await shell(guest(), `systemctl show chr-agent.service ${names.map((name) => `-p ${name}`).join(' ')}`);
  const systemId = async () => /system-id: (\S+)/.exec(await shell(guest(), 'chr-agent license print'))?.[1];

  it('says what it did, and comes up by itself', async () => {
    expect(said).toContain('multi-user.target.wants');
    expect(await shell(guest(), 'systemctl is-enabled chr-agent')).toBe('enabled');
    expect(await properties('ActiveState', 'SubState', 'NRestarts')).toBe(
      'NRestarts=0\nActiveState=active\nSubState=running',
    );
  });

  it('has from systemd what the unit asks for', async () => {
    const seen = await properties('OOMScoreAdjust', 'OOMPolicy', 'Delegate', 'LimitMEMLOCK', 'KillMode');
    expect(seen.split('\n').sort()).toEqual([
      'Delegate=yes',
      'KillMode=mixed',
      'LimitMEMLOCK=infinity',
      'OOMPolicy=continue',
      'OOMScoreAdjust=-900',
    ]);
  });

  it('boots anew by virsh reboot --mode agent, with the same system id', async () => {
    const id = await systemId();
    expect(id).toBeDefined();
    await seeReboot(guest(), () => guest().virsh('reboot', '--mode', 'agent'));
    expect(await systemId()).toBe(id);
  });

  describe('with / and a data disk frozen', () => {
    beforeAll(() => mountDataDisk(guest()));
    afterEach(() => thawAnyway(guest()));

    const freeze = async () => {
      expect(await guest().agent('guest-fsfreeze-freeze', undefined, { timeoutS: 60 })).toBe(FILE_SYSTEMS);
      expect(await rootIsWritable(guest(), 1)).toBe(false);
    };
    /** All is writable soon, a new agent answers, and a freeze works as ever. */
    const recovers = async (before: number, what: string) => {
      const start = performance.now();
      expect(await rootIsWritable(guest(), THAWED_AFTER_S)).toBe(true);
      note(`${what}: / is writable ${((performance.now() - start) / 1000).toFixed(1)} s later`);
      await shell(guest(), `timeout ${THAWED_AFTER_S} touch ${DATA_MOUNT}/probe`);
      await guest().waitForAnswer();
      expect(await agentPid(guest())).not.toBe(before);
      expect(await guest().agent('guest-fsfreeze-status')).toBe('thawed');
    };

    it('thaws when the agent is killed', async () => {
      const before = await agentPid(guest());
      await freeze();
      await shell(guest(), `kill -KILL ${before}`);
      await recovers(before, 'kill -9 of the agent');
    });

    it('thaws when the agent and its guard are killed at once', async () => {
      const before = await agentPid(guest());
      await freeze();
      await shell(guest(), `kill -KILL $(pidof ${AGENT_PROGRAM}) $(pgrep -f "${GUARD}")`);
      await recovers(before, 'kill -9 of agent and guard');
    });

    it('thaws when systemd kills every process of the unit', async () => {
      const before = await agentPid(guest());
      await freeze();
      await shell(guest(), 'systemctl kill --kill-who=all -s KILL chr-agent.service');
      await recovers(before, 'systemctl kill -s KILL');
    });

    it('thaws when the service is restarted', async () => {
      const before = await agentPid(guest());
      await freeze();
      await shell(guest(), 'systemctl restart chr-agent.service');
      await recovers(before, 'systemctl restart');
    });
  });

  it('chr-agent uninstall --root / takes all of it away', async () => {
    await shell(guest(), 'systemctl stop chr-agent.service');
    await shell(guest(), 'chr-agent uninstall --root / --yes --purge && systemctl daemon-reload');
    expect(await shell(guest(), 'systemctl is-enabled chr-agent 2>&1 || true')).not.toBe('enabled');
    const places = '/usr/lib/chr-agent /usr/bin/chr-agent /etc/chr-agent /var/lib/chr-agent';
    expect(await shell(guest(), `ls -d ${places} 2> /dev/null || true`)).toBe('');
  });
});
