/** `chr-agent license` with a daemon and an account server. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AccountServer, startAccountServer } from '../../hosts/account-server/server.ts';
import { makeKeyPair, signingKey } from '../../hosts/account-server/signing.ts';

const root = new URL('../../../', import.meta.url).pathname;
const program = join(root, 'bin/chr-agent');

let directory: string;
let server: AccountServer;
let daemon: ChildProcess | undefined;
let log = '';
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'license-console-'));
  const pair = makeKeyPair();
  const keysDir = join(directory, 'keys');
  mkdirSync(keysDir);
  writeFileSync(join(keysDir, 'vendor.pem'), pair.publicPem);
  writeFileSync(join(directory, 'vendor.key'), pair.privatePem);
  server = await startAccountServer({ key: signingKey('vendor', pair.privatePem), nowMs: Date.now });
  server.book.addAccount('ann', 'secret');
  writeFileSync(
    join(directory, 'agent.toml'),
    `[agent]\nruntime-dir = "${directory}/run"\nstate-dir = "${directory}/state"
[qemu-ga]\nenabled = true\nmethod = "unix-listen"\npath = "${directory}/qga.sock"
[shaper]\nenabled = false
[license]\nkeys-dir = "${keysDir}"\naccount-server = "${server.url}"\n`,
  );
});
afterEach(async () => {
  daemon?.kill('SIGKILL');
  daemon = undefined;
  await server[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

const env = () => ({ ...process.env, CHR_AGENT_CONFIG: join(directory, 'agent.toml') });

async function start(): Promise<void> {
  log = '';
  const child = spawn(program, ['run'], { env: env(), stdio: ['ignore', 'ignore', 'pipe'] });
  daemon = child;
  child.stderr.on('data', (piece) => {
    log += piece;
  });
  for (let tries = 0; !existsSync(join(directory, 'state/license/system-id')); tries += 1) {
    if (tries > 500 || child.exitCode !== null) throw new Error(`the daemon did not start: ${log}`);
    await delay(20);
  }
}

async function stop(): Promise<void> {
  const ended = new Promise((resolve) => daemon?.once('exit', resolve));
  daemon?.kill();
  await ended;
  daemon = undefined;
}

interface Result {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Asynchronous: the account server runs in this process. */
async function run(command: string, args: readonly string[], input = ''): Promise<Result> {
  const child = spawn(command, args, { env: env(), stdio: 'pipe' });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (piece) => {
    stdout += piece;
  });
  child.stderr.on('data', (piece) => {
    stderr += piece;
  });
  child.stdin.on('error', () => {}).end(input);
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { status, stdout, stderr };
}
const license = (args: string, input = '') => run(program, ['license', ...args.split(' ')], input);
const issue = (...args: string[]) => run(join(root, 'scripts/chr-agent-issue'), args);

describe('chr-agent license', () => {
  it('prints, renews and tells of upgrades', async () => {
    await start();
    const free = await license('print');
    expect(free).toMatchObject({ status: 0 });
    expect(free.stdout).toMatch(/^ {2}system-id: [A-Za-z0-9+/]{11}\n {6}level: free\n$/);
    expect(free.stderr).toContain('chr-agent license generate-new-id');

    expect(await license('generate-new-id')).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^system-id: /),
    });
    const wrong = await license('renew', 'ann\nwrong\np10\n');
    expect(wrong).toEqual({ status: 1, stdout: '', stderr: 'chr-agent: wrong password\n' });
    expect(await license('renew', 'ann\nsecret\np10\n')).toEqual({
      status: 0,
      stdout: 'status: done\n',
      stderr: '',
    });
    const trial = await license('print');
    expect(trial.stderr).toBe('');
    expect(trial.stdout.replaceAll(/\d/g, '0').split('\n')).toEqual([
      expect.stringMatching(/^ {8}system-id: .{11}$/),
      '            level: p00',
      expect.stringMatching(/^ {2}next-renewal-at: [a-z]{3}\/00\/0000 00:00:00$/),
      expect.stringMatching(/^ {6}deadline-at: [a-z]{3}\/00\/0000 00:00:00$/),
      expect.stringMatching(/^ {4}trial-ends-at: [a-z]{3}\/00\/0000 00:00:00$/),
      '',
    ]);
    expect(await license('upgrades')).toEqual({ status: 0, stdout: 'yes\n', stderr: '' });
    expect(await license('generate-new-id')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/the system id stays/),
    });
    const status = await run(program, ['status', '--json']);
    expect(JSON.parse(status.stdout)).toMatchObject({ license: { level: 'p10', state: 'trial' } });
    expect(await license('renew --account ann --level p1', 'secret\n')).toMatchObject({ status: 0 });
    expect(log).not.toMatch(/secret|wrong\n|ann\b/);

    await stop();
    expect(await license('print')).toEqual({ ...trial, stdout: (await license('print')).stdout });
    expect((await license('print')).stdout).toContain('level: p10');
    expect(await license('upgrades')).toMatchObject({ status: 0 });
    const stopped = { status: 3, stderr: expect.stringMatching(/not running/) };
    expect(await license('renew', 'ann\nsecret\n')).toMatchObject(stopped);
    expect(await license('generate-new-id')).toMatchObject(stopped);
  });

  it('takes tokens from files, which chr-agent-issue makes', async () => {
    await start();
    const { stdout } = await license('print --json');
    const { 'system-id': id } = JSON.parse(stdout) as { 'system-id': string };
    const file = (name: string) => join(directory, name);
    const token = (name: string, ...args: string[]) =>
      issue('token', '--key', file('vendor.key'), '--system-id', id, '--out', file(name), ...args);
    expect(await token('paid', '--kind', 'paid', '--level', 'p1', '--serial', '2')).toMatchObject({
      status: 0,
    });
    await token(
      'expired',
      ...['--kind', 'paid', '--level', 'p1', '--serial', '3', '--base64'],
      ...['--next-renewal-at', '2020-01-01', '--deadline-at', '2020-02-01'],
    );
    await token('released', '--kind', 'released', '--serial', '4');
    expect(await license(`import ${file('paid')}`)).toEqual({
      status: 0,
      stdout: 'status: done\n',
      stderr: '',
    });
    expect((await license('print')).stdout).toContain('level: p1\n');
    expect(await license(`import ${file('expired')}`)).toMatchObject({ status: 0 });
    expect(await license('upgrades')).toEqual({ status: 1, stdout: 'no\n', stderr: '' });
    expect((await license('print')).stdout).toContain('  limited-upgrades: yes\n');
    expect(await license(`import ${file('paid')}`)).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/the token is refused: its serial 2 is older than 3/),
    });
    expect(await license(`import ${file('released')}`)).toMatchObject({ status: 0 });
    const free = await license('print');
    expect(free.stdout).toContain('level: free\n');
    // it had a license: its id stays
    expect(free.stderr).toBe('');
    expect(await license(`import ${file('nowhere')}`)).toMatchObject({ status: 1 });
    const shown = await issue('show', file('paid'));
    expect(JSON.parse(shown.stdout)).toMatchObject({ systemId: id, level: 'p1', kind: 'paid', serial: 2 });
  });

  it('asks for the password without an echo', async () => {
    await start();
    // script(1) gives a terminal
    const child = spawn('script', ['-qec', `${program} license renew`, '/dev/null'], { env: env() });
    let screen = '';
    child.stdout.on('data', (piece) => {
      screen += piece;
    });
    const shows = async (text: string) => {
      for (let tries = 0; !screen.includes(text); tries += 1) {
        if (tries > 500) throw new Error(`no '${text}' on ${screen}`);
        await delay(20);
      }
    };
    await shows('account: ');
    child.stdin.write('ann\n');
    await shows('password: ');
    child.stdin.write('secret\r');
    await shows('level: ');
    child.stdin.write('p1\n');
    const status = await new Promise((resolve) => child.once('close', resolve));
    expect(screen.replaceAll('\r', '')).toBe('account: ann\npassword: \nlevel: p1\nstatus: done\n');
    expect(status).toBe(0);
  });

  it.each([
    ['', 2, /usage|An action is missing/],
    ['nonsense', 2, /Unknown action 'nonsense'/],
    ['print --nope', 2, /Unknown option '--nope'/],
    ['import', 2, /A FILE is missing/],
    ['print', 1, /no license state in .*: the daemon makes it when it starts/],
  ])('%j without a daemon', async (args, status, message) => {
    const result = await run(program, ['license', ...args.split(' ').filter((word) => word !== '')]);
    expect(result.status).toBe(status);
    expect(result.stderr).toMatch(message);
  });

  it('says whether upgrades are allowed even if the state is lost', async () => {
    await start();
    await stop();
    writeFileSync(join(directory, 'state/license/license.state'), 'damaged');
    expect(await license('upgrades')).toMatchObject({ status: 0, stdout: 'yes\n' });
    const printed = await license('print');
    expect(printed.stdout).toContain('status: the stored license is damaged or gone\n');
    expect(readFileSync(join(directory, 'state/license/license.state'), 'utf8')).toBe('damaged');
  });
});
