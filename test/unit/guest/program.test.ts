import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createProgramRunner, MAX_OUTPUT_BYTES, type ProgramRequest } from '../../../src/guest/program.ts';
import { native } from '../../../src/native/index.ts';

const run = createProgramRunner(native);
const sh = (script: string, options: Partial<ProgramRequest> = {}) =>
  run({ candidates: ['/bin/sh'], args: ['-c', script], ...options });
const exited = (code: number, output: string) => ({
  kind: 'exited',
  program: '/bin/sh',
  code,
  output: Buffer.from(output),
});

describe('running a program of the system', () => {
  it('collects both outputs in order, and the exit status', async () => {
    expect(await sh('echo a; echo b >&2; echo c; exit 3')).toEqual(exited(3, 'a\nb\nc\n'));
  });

  it('has an empty stdin, or what is given', async () => {
    expect(await sh('cat')).toEqual(exited(0, ''));
    expect(await sh('cat', { input: Buffer.from('joe:secret\n') })).toEqual(exited(0, 'joe:secret\n'));
    const big = Buffer.alloc(300_000, 'x');
    expect(await sh('wc -c', { input: big })).toEqual(exited(0, '300000\n'));
    expect(await sh('exec <&-; echo no thanks', { input: big })).toEqual(exited(0, 'no thanks\n'));
  });

  it('leads a session of its own, in / with a clean environment', async () => {
    const result = await sh('pwd; echo "$HOME|$LC_ALL"; cut -d" " -f1,6 /proc/$$/stat');
    expect(result).toMatchObject({ kind: 'exited', code: 0 });
    const lines = result.kind === 'exited' ? result.output.toString().split('\n') : [];
    expect(lines.slice(0, 2)).toEqual(['/', '|C']);
    const [pid, session] = (lines[2] ?? '').split(' ');
    expect(session).toBe(pid);
  });

  it('tells which signal ended it', async () => {
    expect(await sh('echo x; kill -15 $$')).toEqual({
      kind: 'signaled',
      program: '/bin/sh',
      signal: 15,
      output: Buffer.from('x\n'),
    });
  });

  it('tells why it did not start', async () => {
    const none = { kind: 'not-started', program: '/nowhere/a', errno: 2 };
    expect(await run({ candidates: ['/nowhere/a', '/nowhere/b'], args: [] })).toEqual(none);
    expect(await run({ candidates: ['/etc/passwd'], args: [] })).toMatchObject({
      kind: 'not-started',
      errno: 13,
    });
    expect(await run({ candidates: ['/nowhere/a', '/bin/true'], args: [] })).toMatchObject({
      kind: 'exited',
      code: 0,
    });
  });

  it('keeps the first part of a long output and reads the rest', async () => {
    const result = await sh('i=0; while [ $i -lt 300 ]; do printf %01000d 7; i=$((i+1)); done; exit 4');
    expect(result).toMatchObject({ kind: 'exited', code: 4 });
    expect(result.kind === 'exited' && result.output.length).toBe(MAX_OUTPUT_BYTES);
  });

  it('does not wait for what the program leaves running', async () => {
    const result = await sh('sleep 20 & echo $!');
    expect(result).toMatchObject({ kind: 'exited', code: 0 });
    if (result.kind === 'exited') process.kill(Number(result.output.toString()), 'SIGKILL');
  });

  it('is killed with its children when aborted', async () => {
    expect(await sh('echo x; sleep 100; echo y', { signal: AbortSignal.timeout(100) })).toMatchObject({
      kind: 'signaled',
      signal: 9,
    });
    expect(await sh('sleep 100', { signal: AbortSignal.abort() })).toMatchObject({
      kind: 'signaled',
      signal: 9,
    });
  });

  it('leaves no descriptor open', async () => {
    const open = () => readdirSync('/proc/self/fd').length;
    await sh('true');
    const before = open();
    for (let round = 0; round < 10; round += 1) {
      await sh('cat', { input: Buffer.from('x') });
      await run({ candidates: ['/nowhere'], args: [], input: Buffer.from('x') });
      await sh('sleep 9', { signal: AbortSignal.abort() });
    }
    expect(open()).toBe(before);
  });
});
