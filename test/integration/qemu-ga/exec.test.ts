/** guest-exec in both profiles (spec qemu-ga.md section 6, chr-wiki.txt KVM part), on real processes. */
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LineClient } from '../../support/line-client.ts';
import { type OurAgent, startOurAgent } from '../../support/qga-service.ts';

interface ExecStatus {
  exited: boolean;
  exitcode?: number;
  signal?: number;
  'out-data'?: string;
  'err-data'?: string;
  'out-truncated'?: boolean;
}

const base64 = (text: string) => Buffer.from(text).toString('base64');
const decoded = (data: string | undefined) =>
  data === undefined ? undefined : Buffer.from(data, 'base64').toString();

/** Starts something and waits for its last status. */
async function run(client: LineClient, args: object): Promise<ExecStatus> {
  const { pid } = (await client.result('guest-exec', args)) as { pid: number };
  for (;;) {
    const status = (await client.result('guest-exec-status', { pid })) as unknown as ExecStatus;
    if (status.exited) return status;
    await delay(10);
  }
}

describe('the chr profile', () => {
  let agent: OurAgent;
  let client: LineClient;
  beforeAll(async () => {
    agent = await startOurAgent({ scriptTimeLimitMs: 1_000 });
    client = new LineClient(agent.socketPath);
  });
  afterAll(async () => {
    await client.close();
    await agent.stop();
  });
  const script = (text: string, more: object = {}) =>
    run(client, { 'input-data': base64(text), 'capture-output': true, ...more });

  it('runs input-data as a script when there is no path', async () => {
    const status = await script('echo one\necho two >&2\npwd\n');
    expect(status).toEqual({
      exited: true,
      exitcode: 0,
      'out-data': base64(`one\ntwo\n${agent.filesDir}\n`),
      'out-truncated': false,
    });
  });

  it('runs a file of the files directory, uploaded before', async () => {
    const handle = await client.result('guest-file-open', { path: 'x.sh', mode: 'w' });
    await client.result('guest-file-write', { handle, 'buf-b64': base64('echo from x\nexit 3\n') });
    await client.result('guest-file-close', { handle });
    expect(await run(client, { path: 'x.sh', 'capture-output': true })).toEqual({
      exited: true,
      exitcode: -1,
      'out-data': base64('from x\n'),
      'out-truncated': false,
    });
  });

  it('runs an executable file with a #! line by that line', async () => {
    const path = join(agent.filesDir, 'own');
    writeFileSync(path, '#!/bin/cat\nshown\n');
    chmodSync(path, 0o755);
    expect(decoded((await run(client, { path, 'capture-output': true }))['out-data'])).toBe(
      '#!/bin/cat\nshown\n',
    );
  });

  it('says -1 for a script with errors and for one that a signal ended, never a signal', async () => {
    expect(await script('exit 7', { 'capture-output': false })).toEqual({ exited: true, exitcode: -1 });
    expect(await script('echo begun; kill -9 $$')).toEqual({
      exited: true,
      exitcode: -1,
      'out-data': base64('begun\n'),
      'out-truncated': false,
    });
  });

  it('says 1 for a time-out, with the output so far, and leaves nothing running', async () => {
    const status = await script('echo begun; (setsid sleep 77.25 &) ; sleep 77.25');
    expect(status).toMatchObject({ exited: true, exitcode: 1, 'out-data': base64('begun\n') });
    const { stdout } = await import('node:child_process').then(({ spawnSync }) =>
      spawnSync('pgrep', ['-f', 'sleep 77.25'], { encoding: 'utf8' }),
    );
    expect(stdout).toBe('');
  });

  it('keeps no output without capture-output', async () => {
    expect(await script('echo x', { 'capture-output': false })).toEqual({ exited: true, exitcode: 0 });
    expect(await script('echo x', { 'capture-output': 'none' })).toEqual({ exited: true, exitcode: 0 });
  });

  it('merges the streams whatever kind of capture is asked for', async () => {
    for (const capture of ['stdout', 'stderr', 'separated', 'merged']) {
      const status = await script('echo a; echo b >&2', { 'capture-output': capture });
      expect(decoded(status['out-data'])).toBe('a\nb\n');
      expect(status['err-data']).toBeUndefined();
    }
  });

  it('does not use arg and env, and says so in the log', async () => {
    const status = await script('echo "$# $FOO"', { arg: ['a'], env: ['FOO=1'] });
    expect(decoded(status['out-data'])).toBe('0 \n');
    expect(agent.logLines).toContain('info: qemu-ga: guest-exec: arg and env are not used');
  });

  it('does not use input-data beside path, and says so in the log', async () => {
    writeFileSync(join(agent.filesDir, 'stdin.sh'), 'cat; echo done\n');
    const status = await script('unused', { path: 'stdin.sh' });
    expect(decoded(status['out-data'])).toBe('done\n');
    expect(agent.logLines).toContain('info: qemu-ga: guest-exec: input-data is not used beside path');
  });

  it('answers an error, and no pid, when nothing can be started', async () => {
    await expect(client.result('guest-exec', {})).rejects.toThrow("Parameter 'path' is missing");
    await expect(client.result('guest-exec', { path: 'nope.sh' })).rejects.toThrow(
      'Failed to execute child process \u201cnope.sh\u201d (No such file or directory)',
    );
    await expect(client.result('guest-exec', { path: '../../etc/passwd' })).rejects.toThrow(
      'Permission denied',
    );
    await expect(client.result('guest-exec', { path: '.' })).rejects.toThrow('Is a directory');
    await expect(client.result('guest-exec', { 'input-data': '*' })).rejects.toThrow('invalid characters');
  });

  it('forgets a job once its status has said exited', async () => {
    const { pid } = (await client.result('guest-exec', { 'input-data': base64('true') })) as { pid: number };
    let status: ExecStatus;
    do status = (await client.result('guest-exec-status', { pid })) as unknown as ExecStatus;
    while (!status.exited);
    await expect(client.result('guest-exec-status', { pid })).rejects.toThrow(`PID ${pid} does not exist`);
    await expect(client.result('guest-exec-status', { pid: 1 })).rejects.toThrow('PID 1 does not exist');
  });

  it('streams 16 MiB of output, and marks longer output as truncated', async () => {
    const cap = 16 * 1024 * 1024;
    const full = await script(`head -c ${cap} /dev/zero`);
    expect(full['out-truncated']).toBe(false);
    expect(full['out-data']).toHaveLength(Math.ceil(cap / 3) * 4);
    const more = await script(`head -c ${cap + 1} /dev/zero`);
    expect(more['out-truncated']).toBe(true);
    expect(more['out-data']).toHaveLength(Math.ceil(cap / 3) * 4);
  });
});

describe('the upstream profile', () => {
  let agent: OurAgent;
  let client: LineClient;
  beforeAll(async () => {
    agent = await startOurAgent({ compat: 'upstream', scriptTimeLimitMs: 100 });
    client = new LineClient(agent.socketPath);
  });
  afterAll(async () => {
    await client.close();
    await agent.stop();
  });
  const sh = (text: string, more: object = {}) =>
    run(client, { path: 'sh', arg: ['-c', text], 'capture-output': true, ...more });

  it('starts any program with arguments, environment and input, found in PATH', async () => {
    const status = await sh('echo "$0 $FOO"; cat; echo err >&2; exit 3', {
      arg: ['-c', 'echo "$1 $FOO"; cat; echo err >&2; exit 3', 'sh', 'an arg'],
      env: ['FOO=bar', 'PATH=/bin'],
      'input-data': base64('input\n'),
    });
    expect(status).toEqual({
      exited: true,
      exitcode: 3,
      'out-data': base64('an arg bar\ninput\n'),
      'out-truncated': false,
      'err-data': base64('err\n'),
      'err-truncated': false,
    });
  });

  it.each([
    ['stdout', 'o\n', undefined],
    ['stderr', undefined, 'e\n'],
    ['separated', 'o\n', 'e\n'],
    ['merged', 'o\ne\n', undefined],
    ['none', undefined, undefined],
    [false, undefined, undefined],
  ])('captures %s', async (capture, out, err) => {
    const status = await sh('echo o; echo e >&2', { 'capture-output': capture });
    expect([decoded(status['out-data']), decoded(status['err-data'])]).toEqual([out, err]);
  });

  it('reports the signal of a killed program, and no exit code', async () => {
    expect(await sh('kill -9 $$')).toEqual({ exited: true, signal: 9 });
  });

  it('says exited only when the captured pipes are closed, and without capture when the process has ended', async () => {
    const beganAt = Date.now();
    expect(decoded((await sh('(sleep 0.4; echo late) & echo now'))['out-data'])).toBe('now\nlate\n');
    expect(Date.now() - beganAt).toBeGreaterThanOrEqual(400);
    expect(await sh('sleep 30 & exit 0', { 'capture-output': false })).toEqual({ exited: true, exitcode: 0 });
  });

  it('has no time limit', async () => {
    expect(await sh('sleep 0.5; echo through')).toMatchObject({
      exitcode: 0,
      'out-data': base64('through\n'),
    });
  });

  it('answers an error when the program cannot be executed', async () => {
    for (const path of ['/nope', 'no-such-program']) {
      await expect(client.result('guest-exec', { path })).rejects.toThrow(
        `Failed to execute child process \u201c${path}\u201d (No such file or directory)`,
      );
    }
    await expect(client.result('guest-exec', { 'input-data': base64('true') })).rejects.toThrow(
      "Parameter 'path' is missing",
    );
  });

  it('lets children outlive the agent', async () => {
    const other = await startOurAgent({ compat: 'upstream' });
    const mark = join(agent.directory, 'outlived');
    const otherClient = new LineClient(other.socketPath);
    await otherClient.result('guest-exec', { path: 'sh', arg: ['-c', `sleep 0.5; echo ok > ${mark}`] });
    await otherClient.close();
    await other.stop();
    expect(existsSync(mark)).toBe(false);
    for (let tries = 0; !existsSync(mark) && tries < 100; tries += 1) await delay(50);
    await delay(20);
    expect(readFileSync(mark, 'utf8')).toBe('ok\n');
  });
});
