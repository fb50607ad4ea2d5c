/** The daemon's life, as a process: start, reload, drain, death and restart. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LineClient } from '../../support/line-client.ts';

const program = new URL('../../../bin/chr-agent', import.meta.url).pathname;
const base64 = (text: string) => Buffer.from(text).toString('base64');

let directory: string;
let running: ChildProcess[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'daemon-'));
  running = [];
  configure();
});
afterEach(() => {
  for (const daemon of running) daemon.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

const config = () => join(directory, 'agent.toml');
const socketPath = () => join(directory, 'qga.sock');

function configure(qemuGa = '', agent = ''): void {
  writeFileSync(
    config(),
    `[agent]\nruntime-dir = "${directory}/run"\nstate-dir = "${directory}/state"\n${agent}
[qemu-ga]\nenabled = true\nmethod = "unix-listen"\npath = "${socketPath()}"\n${qemuGa}\n`,
  );
}

async function start(): Promise<{ daemon: ChildProcess; log: () => string }> {
  const daemon = spawn(program, ['run', '--config', config()], { stdio: ['ignore', 'ignore', 'pipe'] });
  running.push(daemon);
  let log = '';
  daemon.stderr?.on('data', (data) => {
    log += data;
  });
  for (let tries = 0; !log.includes('started on'); tries += 1) {
    if (tries > 500 || daemon.exitCode !== null) throw new Error(`the daemon did not start: ${log}`);
    await delay(20);
  }
  return { daemon, log: () => log };
}

async function withClient<T>(use: (client: LineClient) => Promise<T>): Promise<T> {
  const client = new LineClient(socketPath());
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

const startScript = (client: LineClient, text: string) =>
  client.result('guest-exec', {
    'input-data': base64(text),
    'capture-output': true,
  }) as Promise<unknown> as Promise<{
    pid: number;
  }>;

function status(...options: string[]) {
  return spawnSync(program, ['status', '--config', config(), ...options], { encoding: 'utf8' });
}

describe('the daemon', () => {
  it('answers status on its control socket, which only root can open', async () => {
    await start();
    let result = status('--json');
    for (let tries = 0; result.status !== 0 && tries < 50; tries += 1) result = status('--json');
    expect(JSON.parse(result.stdout)).toMatchObject({
      version: '0.1.0',
      frozen: false,
      jobs: { running: 0, finished: 0 },
      protocols: expect.arrayContaining([{ name: 'qemu-ga', state: 'listening', detail: socketPath() }]),
    });
    expect(statSync(join(directory, 'run/control.sock')).mode & 0o777).toBe(0o600);
    expect(status().stdout).toContain('qemu-ga   listening');
  });

  it('reads its configuration again on SIGHUP, and keeps the old one when the new one is bad', async () => {
    const { daemon, log } = await start();
    configure('block-rpcs = ["guest-get-time"]');
    daemon.kill('SIGHUP');
    while (!log().includes('configuration reloaded')) await delay(10);
    await withClient(async (client) => {
      await expect(client.result('guest-get-time')).rejects.toThrow('has been disabled');
    });
    configure('nonsense = 1');
    daemon.kill('SIGHUP');
    while (!log().includes('the old configuration stays')) await delay(10);
    expect(log()).toContain(`${config()}:9: qemu-ga.nonsense: unknown key`);
    await withClient(async (client) => {
      expect(await client.result('guest-ping')).toEqual({});
    });
  });

  it('lets running scripts end on SIGTERM, refuses new ones meanwhile, and exits with 0', async () => {
    const { daemon, log } = await start();
    const mark = join(directory, 'mark');
    await withClient(async (client) => {
      const { pid } = await startScript(client, `sleep 0.7; echo through > ${mark}`);
      daemon.kill('SIGTERM');
      while (!log().includes('SIGTERM: stopping')) await delay(10);
      await expect(startScript(client, 'true')).rejects.toThrow('Operation canceled');
      expect(await client.result('guest-exec-status', { pid })).toEqual({ exited: false });
      expect(await once(daemon, 'exit')).toEqual([0, null]);
      expect(existsSync(mark)).toBe(true);
    });
  });

  it('ends scripts that do not end within the limit', async () => {
    configure('', 'drain-limit = 0.3');
    const { daemon } = await start();
    await withClient(async (client) => {
      const { pid } = await startScript(client, 'sleep 61.5 & sleep 61.5');
      daemon.kill('SIGTERM');
      expect(await once(daemon, 'exit')).toEqual([0, null]);
      expect(existsSync(`/proc/${pid}`)).toBe(false);
      expect(spawnSync('pgrep', ['-f', 'sleep 61.5']).stdout.toString()).toBe('');
    });
  });

  it('takes its scripts along when it is killed, and says after a restart that they failed', async () => {
    const { daemon } = await start();
    const { lostPid, donePid } = await withClient(async (client) => {
      const done = await startScript(client, 'exit 0');
      const lost = await startScript(client, '(setsid sleep 62.5 &); sleep 62.5');
      await delay(100);
      return { lostPid: lost.pid, donePid: done.pid };
    });
    daemon.kill('SIGKILL');
    await once(daemon, 'exit');
    for (let tries = 0; spawnSync('pgrep', ['-f', 'sleep 62.5']).status === 0; tries += 1) {
      expect(tries).toBeLessThan(100);
      await delay(20);
    }
    await start();
    await withClient(async (client) => {
      expect(await client.result('guest-exec-status', { pid: lostPid })).toEqual({
        exited: true,
        exitcode: -1,
      });
      expect(await client.result('guest-exec-status', { pid: donePid })).toEqual({
        exited: true,
        exitcode: 0,
      });
    });
  });

  it('waits with a log line when it cannot listen, and goes on when it can', async () => {
    writeFileSync(socketPath(), 'in the way');
    const { log } = await start();
    expect(log()).toContain('something is there that is no socket; next try in 1 s');
    rmSync(socketPath());
    await delay(1_500);
    await withClient(async (client) => {
      expect(await client.result('guest-ping')).toEqual({});
    });
  });
});

describe('a bad configuration', () => {
  it('stops the start with file, line and key, and exit status 78', () => {
    configure('compat = "pigeon"');
    const result = spawnSync(program, ['run', '--config', config()], { encoding: 'utf8' });
    expect(result.status).toBe(78);
    expect(result.stderr).toBe(`${config()}:9: qemu-ga.compat: must be one of chr, upstream\n`);
  });
});
