/**
 * The example hooks that are shipped (packaging/examples/hooks), run by the script engine against real databases. What is not
 * installed is left out.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createHooks, type Hooks } from '../../../src/scripts/hooks.ts';
import { recordingLog } from '../../support/quiet-log.ts';
import { type QuiesceAgent, startQuiesceAgent } from '../quiesce/agent.ts';

const EXAMPLES = new URL('../../../packaging/examples/hooks', import.meta.url).pathname;
const LIMIT = { timeLimitMs: 60_000 };
const START_LIMIT_MS = 60_000;

const POSTGRES = latest('/usr/lib/postgresql');
const isThere = (program: string): boolean =>
  ['/usr/bin', '/usr/sbin'].some((directory) => existsSync(join(directory, program)));

/** The directory of programs of the newest version below `directory`. */
function latest(directory: string): string | null {
  if (!existsSync(directory)) return null;
  const version = readdirSync(directory)
    .sort((a, b) => Number(a) - Number(b))
    .at(-1);
  const programs = version === undefined ? '' : join(directory, version, 'bin');
  return existsSync(join(programs, 'initdb')) ? programs : null;
}

async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + START_LIMIT_MS; !condition(); await sleep(50)) {
    if (performance.now() > end) throw new Error('it does not come up');
  }
}

function succeeds(program: string, ...args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const output = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();

describe('example hooks', () => {
  let agent: QuiesceAgent;
  let hooks: Hooks;
  let directory: string;
  /** Ends the database of the test. */
  let stop = (): void => {};

  beforeEach(async () => {
    // databases run as users of their own, and their socket's path is short
    directory = mkdtempSync(join(tmpdir(), 'hooks-'));
    chmodSync(directory, 0o755);
    agent = await startQuiesceAgent(() => []);
    const { jobs, gate, filesDir } = agent;
    hooks = createHooks({ jobs, gate, filesDir, log: recordingLog(), hooksDir: join(directory, 'hooks') });
    mkdirSync(join(directory, 'hooks/quiesce.d'), { recursive: true });
    for (const name of ['freeze', 'thaw']) copyFileSync(join(EXAMPLES, name), join(directory, 'hooks', name));
    symlinkSync('thaw', join(directory, 'hooks/freeze-fail'));
  });

  afterEach(async () => {
    stop();
    stop = () => {};
    await agent[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  /** The example with the settings of the test's own server. */
  function install(name: string, settings: Readonly<Record<string, string>>): void {
    const words = Object.entries(settings).map(([key, value]) => `export ${key}='${value}'`);
    put(`${name}`, `${words.join('\n')}\nexec ${join(EXAMPLES, 'quiesce.d', name)} "$1"`);
  }

  function put(name: string, text: string): void {
    writeFileSync(join(directory, 'hooks/quiesce.d', name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }

  function server(program: string, args: readonly string[]): void {
    const child = spawn(program, args, { stdio: 'ignore' });
    stop = () => child.kill('SIGKILL');
  }

  it('freeze ends with the first that fails, thaw and freeze-fail run all', async () => {
    put('a', `echo a $1 >> ${directory}/runs; exit 1`);
    put('b', `echo b $1 >> ${directory}/runs`);
    expect(await hooks.run('freeze', LIMIT)).toEqual({ kind: 'failed', reason: 'exit status 1' });
    expect(await hooks.run('freeze-fail', LIMIT)).toEqual({ kind: 'failed', reason: 'exit status 1' });
    expect(await hooks.run('thaw', LIMIT)).toEqual({ kind: 'failed', reason: 'exit status 1' });
    expect(output('cat', `${directory}/runs`).split('\n')).toEqual([
      ...['a freeze', 'a thaw', 'b thaw', 'a thaw', 'b thaw'],
    ]);
  });

  it('an empty quiesce.d is fine', async () => {
    expect(await hooks.run('freeze', LIMIT)).toEqual({ kind: 'success' });
    expect(await hooks.run('thaw', LIMIT)).toEqual({ kind: 'success' });
  });

  it.runIf(isThere('sqlite3'))('sqlite: the write-ahead log is empty afterwards', async () => {
    const database = join(directory, 'some data.db');
    // a reader keeps the log from going away when the writer ends
    const reader = spawn('sqlite3', [database], { stdio: ['pipe', 'pipe', 'ignore'] });
    stop = () => reader.kill('SIGKILL');
    reader.stdin.write(
      'PRAGMA journal_mode=WAL; CREATE TABLE t(x);\nINSERT INTO t VALUES (1);\nSELECT 42 FROM t;\n',
    );
    await until(() => existsSync(`${database}-wal`) && output('stat', '-c', '%s', `${database}-wal`) !== '0');
    writeFileSync(join(directory, 'list'), `${database}\n`);
    install('sqlite', { SQLITE_LIST: join(directory, 'list') });
    expect(await hooks.run('freeze', LIMIT)).toEqual({ kind: 'success' });
    expect(output('stat', '-c', '%s', `${database}-wal`)).toBe('0');
    expect(await hooks.run('thaw', LIMIT)).toEqual({ kind: 'success' });

    writeFileSync(join(directory, 'list'), `${database}.gone\n`);
    expect(await hooks.run('freeze', LIMIT)).toEqual({ kind: 'failed', reason: 'exit status 1' });
  });

  it.runIf(isThere('redis-server'))('redis: the dump has what was written before', async () => {
    const socket = join(directory, 'redis.sock');
    server('redis-server', ['--port', '0', '--unixsocket', socket, '--dir', directory, '--save', '']);
    const ask = (...words: string[]) => output('redis-cli', '-s', socket, ...words);
    await until(() => succeeds('redis-cli', '-s', socket, 'ping'));
    ask('set', 'key', 'a value that is not in the dump yet');
    install('redis', { REDIS_CLI: `redis-cli -s ${socket}` });
    expect(await hooks.run('freeze', LIMIT)).toEqual({ kind: 'success' });
    expect(output('grep', '-c', 'a value that is not in the dump yet', join(directory, 'dump.rdb'))).toBe(
      '1',
    );
    expect(await hooks.run('thaw', LIMIT)).toEqual({ kind: 'success' });

    stop();
    await until(() => !succeeds('redis-cli', '-s', socket, 'ping'));
    expect(await hooks.run('freeze', LIMIT)).toEqual({ kind: 'failed', reason: 'exit status 1' });
  });

  it.runIf(POSTGRES !== null && isThere('runuser'))(
    'postgresql: a checkpoint',
    { timeout: 180_000 },
    async () => {
      const data = join(directory, 'data');
      mkdirSync(data);
      execFileSync('chown', ['postgres', data, directory]);
      const as = (program: string, ...args: string[]) =>
        output('runuser', '-u', 'postgres', '--', join(String(POSTGRES), program), ...args);
      as('initdb', '--no-sync', '-A', 'trust', '-D', data);
      as(
        'pg_ctl',
        '-w',
        '-D',
        data,
        '-o',
        `-k ${directory} -c listen_addresses=`,
        '-l',
        `${directory}/log`,
        'start',
      );
      stop = () => void as('pg_ctl', '-m', 'immediate', '-D', data, 'stop');
      const place = () =>
        as('psql', '-h', directory, '-At', '-c', 'SELECT redo_lsn FROM pg_control_checkpoint()', 'postgres');
      as('psql', '-h', directory, '-c', 'CREATE TABLE t AS SELECT generate_series(1, 1000)', 'postgres');
      const before = place();
      install('postgresql', { PGHOST: directory });
      expect(await hooks.run('freeze', LIMIT)).toEqual({ kind: 'success' });
      expect(place()).not.toBe(before);
      expect(await hooks.run('thaw', LIMIT)).toEqual({ kind: 'success' });

      install('postgresql', { PGHOST: join(directory, 'nowhere') });
      expect((await hooks.run('freeze', LIMIT)).kind).toBe('failed');
    },
  );

  it.runIf(isThere('mariadbd') && isThere('mariadb-install-db'))(
    'mysql: nobody writes until the thaw',
    { timeout: 180_000 },
    async () => {
      const data = join(directory, 'data');
      const socket = join(directory, 'mysql.sock');
      const own = ['--no-defaults', '--user=root', `--datadir=${data}`];
      execFileSync('mariadb-install-db', [...own, '--auth-root-authentication-method=normal'], {
        stdio: 'ignore',
      });
      server('mariadbd', [...own, `--socket=${socket}`, '--skip-networking', `--pid-file=${directory}/pid`]);
      const client = ['--no-defaults', '-u', 'root', '-S', socket];
      const ask = (statement: string) => output('mariadb', ...client, '-N', '-B', '-e', statement);
      await until(() => succeeds('mariadb', ...client, '-e', 'SELECT 1'));
      ask('CREATE TABLE test.t (x INT) ENGINE=MyISAM');
      const insert = 'SET lock_wait_timeout=2; INSERT INTO test.t VALUES (1)';
      const settings = { MYSQL: `mariadb ${client.join(' ')}`, RUN_DIR: directory };
      install('mysql', settings);

      expect(await hooks.run('freeze', LIMIT)).toEqual({ kind: 'success' });
      expect(succeeds('mariadb', ...client, '-e', insert)).toBe(false);
      expect(await hooks.run('thaw', LIMIT)).toEqual({ kind: 'success' });
      ask(insert);
      expect(ask('SELECT count(*) FROM test.t')).toBe('1');

      // a freeze that failed elsewhere
      expect(await hooks.run('freeze', LIMIT)).toEqual({ kind: 'success' });
      expect(await hooks.run('freeze-fail', LIMIT)).toEqual({ kind: 'success' });
      ask(insert);

      install('mysql', { ...settings, MYSQL: `mariadb ${client.join(' ')}-nowhere` });
      expect(await hooks.run('freeze', LIMIT)).toEqual({ kind: 'failed', reason: 'exit status 1' });
      expect(await hooks.run('thaw', LIMIT)).toEqual({ kind: 'success' });
    },
  );
});
