/** The whole daemon on a guest's socket, and the unchanged clients of Debian's xenstore-utils on the host's side. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../../support/test-store.ts';
import { startXenstored, type Xenstored, xenstoredMissing } from '../../support/xenstored.ts';

/** From the sources: what is tested is not what was built last. */
const program = new URL('../../../src/agent/main.ts', import.meta.url).pathname;
const NODE = '/local/domain/3/vm-data/provision/script';
const missing =
  xenstoredMissing() ?? (existsSync('/usr/bin/xenstore-write') ? undefined : 'no xenstore-utils');

let store: Xenstored;
let directory: string;
let daemons: ChildProcess[];
let log: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'xs-daemon-'));
  daemons = [];
  log = '';
});
afterEach(async () => {
  for (const daemon of daemons) daemon.kill('SIGKILL');
  await store?.stop();
  rmSync(directory, { recursive: true });
});

function host(command: string, ...args: string[]): string | null {
  const env = { ...process.env, XENSTORED_PATH: store.toolstackSocket, XENSTORED_RUNDIR: '' };
  const { status, stdout } = spawnSync(`xenstore-${command}`, args, { env, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : null;
}
const read = (path: string) => host('read', path);
const is = (path: string, wanted: string) =>
  until(`${path} = ${wanted}; ${log}`, () => read(path) === wanted);
const provide = (script: string) => host('write', NODE, Buffer.from(script).toString('base64'));
const decoded = (path: string) => Buffer.from(read(path) ?? '', 'base64').toString();
function count(): number {
  const file = join(directory, 'count');
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0;
}

function start(more = ''): ChildProcess {
  const config = join(directory, 'agent.toml');
  writeFileSync(
    config,
    `[agent]
runtime-dir = "${directory}/run"
state-dir = "${directory}/state"
[qemu-ga]
enabled = false
[xenstore]
enabled = true
path = "${store.guestSocket(3)}"
${more}
`,
  );
  const daemon = spawn(process.execPath, [program, 'run', '--config', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  daemons.push(daemon);
  daemon.stderr?.on('data', (data) => {
    log += data;
  });
  return daemon;
}

describe.skipIf(missing !== undefined)('the daemon in a Xen guest', () => {
  beforeEach(async () => {
    store = await startXenstored();
    await store.domainUp(3, { layout: 'xapi' });
  });

  it('runs a script that xenstore-write has brought, and publishes what xenstore-ls shows', async () => {
    start();
    await is(`${NODE}/status`, 'ready');
    provide('echo from $CHR_AGENT_ORIGIN; exit 3');
    await is(`${NODE}/status`, 'error');
    expect(decoded(`${NODE}/output`)).toBe('from xenstore\n');
    expect(decoded(`${NODE}/otuput`)).toBe('from xenstore\n');
    provide('echo again');
    await is(`${NODE}/status`, 'ready');
    await until('the output', () => decoded(`${NODE}/output`) === 'again\n');
    await until('the information', () => read('/local/domain/3/data/updated') !== null);
    const tree = host('ls', '-f', '/local/domain/3');
    expect(tree).toMatch(/\/attr\/PVAddons\/MajorVersion = "\d+"/);
    expect(tree).toMatch(/\/data\/os_name = ".+"/);
    expect(tree).toMatch(/\/data\/meminfo_total = "\d+"/);
    const status = spawnSync(
      process.execPath,
      [program, 'status', '--config', join(directory, 'agent.toml')],
      {
        encoding: 'utf8',
      },
    );
    expect(status.stdout).toContain(`xenstore  connected  ${store.guestSocket(3)}`);
  });

  it('killed in the middle of a script says error afterwards, and runs it no more; a restart runs nothing', async () => {
    const script = `echo run >> ${directory}/count; sleep 60`;
    provide(script);
    const first = start();
    await until('the run', () => count() === 1);
    await is(`${NODE}/status`, 'running');
    first.kill('SIGKILL');
    const second = start();
    await is(`${NODE}/status`, 'error');
    await until('publishing', () => log.includes('was running when the agent ended'));
    second.kill('SIGTERM');
    await until('the end', () => second.exitCode !== null);
    expect(second.exitCode).toBe(0);
    start();
    await is(`${NODE}/status`, 'ready');
    expect(count()).toBe(1);
    provide(`echo run >> ${directory}/count`);
    await until('the next run', () => count() === 2);
  });

  it('ends a script at its time limit, and at its own end', async () => {
    const daemon = start('time-limit = 0.5');
    await is(`${NODE}/status`, 'ready');
    provide('echo begun; sleep 60');
    await is(`${NODE}/status`, 'running');
    await is(`${NODE}/status`, 'error');
    expect(decoded(`${NODE}/output`)).toBe('begun\n');
    await until('the log line', () => log.includes('was ended after its 0.5 s'));
    daemon.kill('SIGTERM');
    await until('the end', () => daemon.exitCode !== null);
    expect(daemon.exitCode).toBe(0);
  });

  it('waits for a store that is not there, and the other protocols go on', async () => {
    await store.kill();
    start();
    await until('the start', () => log.includes('started on'));
    const status = () =>
      spawnSync(process.execPath, [program, 'status', '--config', join(directory, 'agent.toml')], {
        encoding: 'utf8',
      }).stdout;
    await until('the state', () => /xenstore +waiting/.test(status()));
    await store.restart();
    await store.domainUp(3, { layout: 'xapi' });
    await is(`${NODE}/status`, 'ready');
  });
});
