// The daemon as a process while file systems are frozen: log, reload, end, restart (issue 5 item 2).
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LineClient } from '../../support/line-client.ts';
import { hookRunsIn, writeHook } from './agent.ts';
import { canMount, isFrozen, LoopMounts, until } from './loop-mounts.ts';

const PROGRAM = new URL('../../../bin/chr-agent', import.meta.url).pathname;

// CHR_AGENT_NO_ACTIONS=1 comes from the test runner: of all the machine's mounts these daemons may only freeze loop devices
describe.skipIf(!canMount)('the daemon while frozen', () => {
  let mounts: LoopMounts;
  let mountPoint: string;
  let directory: string;
  let daemons: ChildProcess[] = [];

  beforeAll(() => {
    mounts = new LoopMounts();
    mountPoint = mounts.add('only');
  });
  beforeEach(() => {
    mounts.armWatchdogs();
    directory = mkdtempSync(join(tmpdir(), 'chr-agent-daemon-'));
    mkdirSync(join(directory, 'hooks'));
    for (const name of ['freeze', 'freeze-fail', 'thaw']) writeHook(directory, name, 'true');
    configure('info');
  });
  afterEach(() => {
    for (const daemon of daemons) daemon.kill('SIGKILL');
    daemons = [];
    rmSync(directory, { recursive: true });
    expect(mounts.thawAll()).toBe(false);
  });
  afterAll(() => mounts.remove());

  const configFile = () => join(directory, 'agent.toml');

  function configure(logLevel: string): void {
    writeFileSync(
      configFile(),
      `[agent]\nlog-level = "${logLevel}"\nruntime-dir = "${directory}/run"\nstate-dir = "${directory}/state"
[qemu-ga]\nenabled = true\nmethod = "unix-listen"\npath = "${directory}/qga.sock"
[freeze]\nhooks-dir = "${directory}/hooks"\n`,
    );
  }

  async function start(): Promise<{ daemon: ChildProcess; log: () => string; host: LineClient }> {
    const daemon = spawn(PROGRAM, ['run', '--config', configFile()], { stdio: ['ignore', 'ignore', 'pipe'] });
    daemons.push(daemon);
    let log = '';
    daemon.stderr?.on('data', (data) => {
      log += String(data);
    });
    await until('the daemon is up', () => log.includes('started on'));
    return { daemon, log: () => log, host: new LineClient(join(directory, 'qga.sock')) };
  }

  const freeze = (host: LineClient) =>
    host.result('guest-fsfreeze-freeze-list', { mountpoints: [mountPoint] });

  it('says nothing and reads no configuration until the thaw; status and freeze-status answer', async () => {
    const { daemon, log, host } = await start();
    expect(await freeze(host)).toBe(1);
    expect(await isFrozen(mountPoint)).toBe(true);
    daemon.kill('SIGHUP');
    await delay(100);
    expect(log()).not.toMatch(/frozen|reload/);
    const ask = (command: string) =>
      spawnSync(PROGRAM, [command, '--json', '--config', configFile()], { encoding: 'utf8' }).stdout;
    expect(JSON.parse(ask('status'))).toMatchObject({ frozen: true });
    expect(JSON.parse(ask('freeze-status'))).toMatchObject({
      state: 'frozen',
      owner: 'qemu-ga',
      mountPoints: [mountPoint],
      timeLimitMs: 600_000,
    });
    expect(await host.result('guest-fsfreeze-thaw')).toBe(1);
    await until('the log goes on', () => log().includes('configuration reloaded'));
    expect(log()).toContain('1 file systems are frozen');
    await host.close();
  });

  it('SIGTERM thaws, and the next daemon tells the host', async () => {
    const { daemon, host } = await start();
    await freeze(host);
    daemon.kill('SIGTERM');
    expect(await once(daemon, 'exit')).toEqual([0, null]);
    expect(await isFrozen(mountPoint)).toBe(false);
    expect(hookRunsIn(directory)).toEqual(['freeze', 'freeze-fail']);
    await host.close();

    const next = await start();
    expect(await next.host.result('guest-fsfreeze-status')).toBe('thawed');
    expect(await next.host.command('guest-fsfreeze-thaw')).toEqual({
      error: {
        class: 'GenericError',
        desc: 'file systems were thawed when the agent was stopped: a backup taken meanwhile is not consistent',
      },
    });
    expect(hookRunsIn(directory)).toEqual(['freeze', 'freeze-fail']);
    expect(existsSync(join(directory, 'run/freeze.state'))).toBe(false);
    await next.host.close();
  });

  it('SIGKILL: the guard thaws, the next daemon runs freeze-fail and tells the host', async () => {
    const { daemon, host } = await start();
    await freeze(host);
    daemon.kill('SIGKILL');
    await once(daemon, 'exit');
    await host.close();
    const next = await start();
    expect(await isFrozen(mountPoint)).toBe(false);
    await until('the hook has run', () => hookRunsIn(directory).length === 2);
    expect(hookRunsIn(directory)).toEqual(['freeze', 'freeze-fail']);
    await expect(next.host.result('guest-fsfreeze-thaw')).rejects.toThrow(
      'by the guard when the agent ended',
    );
    await next.host.close();
  });
});
