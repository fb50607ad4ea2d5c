/** Programs as the upstream qemu-ga starts them: spec qemu-ga.md section 6. */
import { mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ProgramOptions, RunningProgram } from '../../../src/scripts/program.ts';
import {
  bytesOf,
  children,
  isAlive,
  openDescriptors,
  openEngine,
  pause,
  refusal,
  type TestEngine,
  textOf,
  until,
} from './engine.ts';

const { ENOENT, EACCES, EINVAL } = constants.errno;

let test: TestEngine;
let descriptors = 0;
beforeAll(async () => {
  test = await openEngine();
  descriptors = openDescriptors();
});
afterAll(async () => {
  await until('all files are closed', () => openDescriptors() <= descriptors);
  await test[Symbol.asyncDispose]();
  // the one that a closed engine left behind is a zombie of this process
  expect(children().filter((pid) => isAlive(pid, false))).toEqual([]);
});

const start = (options: Partial<ProgramOptions>): Promise<RunningProgram> =>
  test.engine.startProgram({
    path: '/bin/sh',
    args: [],
    env: undefined,
    input: undefined,
    capture: 'separated',
    ...options,
  });

/** Runs a shell text to its end. */
async function run(text: string, options: Partial<ProgramOptions> = {}) {
  const program = await start({ args: ['-c', text], ...options });
  await program.exited;
  const exit = program.exit();
  if (exit === undefined) throw new Error('exited, but how?');
  const result = {
    exitCode: exit.exitCode,
    signal: exit.signal,
    stdout: exit.stdout && (await textOf(exit.stdout)),
    stderr: exit.stderr && (await textOf(exit.stderr)),
    truncated: [exit.stdout?.truncated, exit.stderr?.truncated],
  };
  program.release();
  return result;
}

describe('a program', () => {
  it.each([
    ['exit 0', 0, 0],
    ['exit 255', 255, 0],
    ['kill -9 $$', -1, 9],
    ['kill -PIPE $$', -1, 13],
  ])('%s', async (text, exitCode, signal) => {
    expect(await run(text)).toMatchObject({ exitCode, signal });
  });

  it.each([
    ['none', undefined, undefined],
    ['stdout', 'o1\no2\n', undefined],
    ['stderr', undefined, 'e1\ne2\n'],
    ['separated', 'o1\no2\n', 'e1\ne2\n'],
    ['merged', 'o1\ne1\no2\ne2\n', undefined],
  ] as const)('captures %s', async (capture, stdout, stderr) => {
    const text = 'echo o1; echo e1 >&2; echo o2; echo e2 >&2';
    expect(await run(text, { capture })).toMatchObject({ exitCode: 0, stdout, stderr });
  });

  it('what is not captured goes to /dev/null, and so does a missing input', async () => {
    const names = async (capture: ProgramOptions['capture']) =>
      run('cat; readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2', { capture });
    expect((await names('stdout')).stdout).toMatch(/^\/dev\/null\npipe:\S+\n\/dev\/null\n$/);
    expect((await names('merged')).stdout).toMatch(/^\/dev\/null\n(pipe:\S+)\n\1\n$/);
  });

  it("has the agent's session, directory and environment, and nothing else open", async () => {
    const { stdout } = await run(
      'ls /proc/$$/fd; pwd -P; cut -d " " -f 6 /proc/$$/stat; tr "\\0" "\\n" < /proc/$$/environ',
    );
    const [fd0, fd1, fd2, cwd, session, ...env] = stdout?.trimEnd().split('\n') ?? [];
    expect([fd0, fd1, fd2, cwd]).toEqual(['0', '1', '2', realpathSync(process.cwd())]);
    const own = await run('cut -d " " -f 6 /proc/$PPID/stat');
    expect(`${session}\n`).toBe(own.stdout);
    expect(env).toContain(`PATH=${process.env.PATH}`);
    expect((await run('echo $A; tr "\\0" "\\n" < /proc/$$/environ', { env: ['A=x y'] })).stdout).toBe(
      'x y\nA=x y\n',
    );
    expect((await run('/usr/bin/env', { path: '/usr/bin/env', args: [], env: [] })).stdout).toBe('');
  });

  it('is searched in PATH of env, else in that of the agent', async () => {
    const bin = join(test.directory, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'chr-agent-test-program'), '#!/bin/sh\necho $0 "$@"\n', { mode: 0o755 });
    writeFileSync(join(bin, 'no-line'), 'echo plain "$@"\n', { mode: 0o755 });
    writeFileSync(join(bin, 'not-executable'), '#!/bin/sh\n', { mode: 0o644 });
    const env = [`PATH=/nowhere:${bin}`];
    const args = ['one', 'two words'];
    expect((await run('', { path: 'chr-agent-test-program', args, env })).stdout).toBe(
      `${bin}/chr-agent-test-program one two words\n`,
    );
    expect((await run('', { path: 'true', args: [], env: ['A=1'] })).exitCode).toBe(0);
    expect((await run('', { path: 'no-line', args, env })).stdout).toBe('plain one two words\n');
    expect(await refusal(start({ path: 'chr-agent-test-program' }))).toBe(ENOENT);
    expect(await refusal(start({ path: 'not-executable', env }))).toBe(EACCES);
    expect(await refusal(start({ path: 'true', env: ['PATH=/nowhere'] }))).toBe(ENOENT);
    expect(await refusal(start({ path: '/no/such/program', input: Buffer.from('x') }))).toBe(ENOENT);
    expect(await refusal(start({ path: '' }))).toBe(ENOENT);
    expect(await refusal(start({ args: ['a\0b'] }))).toBe(EINVAL);
    await expect(start({ path: '/no/such/program' })).rejects.toThrow('No such file or directory');
  });
});

describe('input', () => {
  it('is all there, then the end', async () => {
    const input = Buffer.alloc(3_000_001, 'abcdefg');
    const program = await start({ path: '/bin/cat', input, capture: 'stdout' });
    await program.exited;
    const { stdout } = program.exit() ?? {};
    expect(stdout && (await bytesOf(stdout)).equals(input)).toBe(true);
    program.release();
    expect((await run('cat', { input: Buffer.alloc(0) })).stdout).toBe('');
  });

  it('blocks a reader that is too early, with no error', async () => {
    expect((await run('sleep 0.1; wc -c', { input: Buffer.alloc(200_000) })).stdout).toBe('200000\n');
  });

  it('that is not read is no error, and holds nothing up', async () => {
    const input = Buffer.alloc(1_000_000);
    expect(await run('exit 3', { input })).toMatchObject({ exitCode: 3 });
    expect(await run('exec < /dev/null; sleep 0.1; exit 4', { input })).toMatchObject({ exitCode: 4 });
  });
});

describe('the end', () => {
  it('waits for a grandchild that holds a captured stream', async () => {
    const program = await start({ args: ['-c', '(sleep 0.3; echo late) & exit 5'] });
    await pause(150);
    expect(program.exit()).toBeUndefined();
    await program.exited;
    const exit = program.exit();
    expect(exit?.exitCode).toBe(5);
    expect(exit?.stdout && (await textOf(exit.stdout))).toBe('late\n');
    program.release();
  });

  it('does not wait for one that holds nothing captured', async () => {
    const pidFile = join(test.directory, 'background.pid');
    const script = `sleep 1000 & echo $! > ${pidFile}; exit 6`;
    expect(await run(script, { capture: 'none' })).toMatchObject({ exitCode: 6 });
    const { stdout } = await run(`cat ${pidFile}`);
    expect(isAlive(Number(stdout))).toBe(true);
    process.kill(Number(stdout), 'SIGKILL');
  });

  it('truncates each stream at 16 MiB, and reads on', async () => {
    const program = await start({
      args: ['-c', 'head -c 16777216 /dev/zero; head -c 16777217 /dev/zero >&2; exit 7'],
    });
    await program.exited;
    const exit = program.exit();
    expect([exit?.exitCode, exit?.stdout?.sizeBytes, exit?.stdout?.truncated]).toEqual([
      7,
      16_777_216,
      false,
    ]);
    expect([exit?.stderr?.sizeBytes, exit?.stderr?.truncated]).toEqual([16_777_216, true]);
    program.release();
    expect(test.engine.usage.spilledBytes).toBe(0);
  });

  it('of the agent leaves it running', async () => {
    const other = await openEngine();
    const program = await other.engine.startProgram({
      path: '/bin/sleep',
      args: ['1000'],
      env: undefined,
      input: Buffer.alloc(200_000),
      capture: 'separated',
    });
    await other[Symbol.asyncDispose]();
    expect(isAlive(program.pid, false)).toBe(true);
    expect(program.exit()).toBeUndefined();
    process.kill(program.pid, 'SIGKILL');
    await until('it is dead', () => !isAlive(program.pid, false));
  });

  it('can be released before it', async () => {
    const program = await start({ args: ['-c', 'head -c 1000000 /dev/zero; sleep 0.1; exit 0'] });
    program.release();
    await program.exited;
    expect(program.exit()?.exitCode).toBe(0);
    expect(test.engine.usage).toEqual({ memoryBytes: 0, spilledBytes: 0 });
  });
});
