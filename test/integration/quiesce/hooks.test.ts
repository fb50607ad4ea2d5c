// Hook scripts: design "Script semantics", spec chr-wiki.txt (scripts).
import { lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ProgramRequest, ProgramResult } from '../../../src/guest/program.ts';
import { programHooks } from '../../../src/quiesce/hooks.ts';
import { createHooks, type HookName, type Hooks } from '../../../src/scripts/hooks.ts';
import { hooksDirOf } from '../../support/quiescer.ts';
import { recordingLog } from '../../support/quiet-log.ts';
import { type QuiesceAgent, startQuiesceAgent } from './agent.ts';

const LIMIT = { timeLimitMs: 5_000 };

function hooksOf(
  { jobs, gate, directory, filesDir }: QuiesceAgent,
  isEnabled: (name: HookName) => boolean = () => true,
): Hooks {
  const hooksDir = hooksDirOf(directory);
  return createHooks({ jobs, gate, log: recordingLog(), hooksDir, filesDir, isEnabled });
}

describe('hook scripts', () => {
  it('can be switched off, one by one', async () => {
    await using agent = await startQuiesceAgent(() => []);
    const off = new Set<HookName>(['freeze']);
    const hooks = hooksOf(agent, (name) => !off.has(name));
    expect([await hooks.isThere('freeze'), await hooks.isThere('thaw')]).toEqual([false, true]);
    expect(await hooks.isThere('poweron')).toBe(false);
    expect(await hooks.run('freeze', LIMIT)).toEqual({ kind: 'absent' });
    expect(await hooks.run('thaw', LIMIT)).toEqual({ kind: 'success' });
    expect(await hooks.run('poweron', LIMIT)).toEqual({ kind: 'absent' });
    off.delete('freeze');
    expect(await hooks.run('freeze', LIMIT)).toEqual({ kind: 'success' });
    expect(agent.hookRuns()).toEqual(['thaw', 'freeze']);
    // their jobs are nobody's business any more
    expect(agent.jobs.list()).toEqual([]);
  });

  it.each<[string, (path: string) => void, string]>([
    [
      'a missing interpreter',
      (path) => writeFileSync(path, '#!/nowhere/sh\n', { mode: 0o755 }),
      'No such file or directory',
    ],
    ['a broken first line', (path) => writeFileSync(path, '#!\n', { mode: 0o755 }), 'Exec format error'],
    ['a directory', (path) => mkdirSync(path), 'Is a directory'],
  ])('%s is a failure, not a missing hook', async (_what, make, text) => {
    await using agent = await startQuiesceAgent(() => []);
    const path = join(hooksDirOf(agent.directory), 'freeze');
    rmSync(path);
    make(path);
    const reason = `it cannot be started: ${text}`;
    expect(await hooksOf(agent).run('freeze', LIMIT)).toEqual({ kind: 'failed', reason });
    expect(readFileSync(join(agent.filesDir, 'freeze-script.log'), 'utf8')).toBe(`${reason}\n`);
  });

  it('a link in the place of the log is replaced, not followed', async () => {
    await using agent = await startQuiesceAgent(() => []);
    const victim = join(agent.directory, 'victim');
    writeFileSync(victim, 'precious');
    const log = join(agent.filesDir, 'thaw-script.log');
    symlinkSync(victim, log);
    symlinkSync(victim, `${log}.new`);
    agent.setHook('thaw', 'echo output; kill -9 $$');
    expect(await hooksOf(agent).run('thaw', LIMIT)).toEqual({ kind: 'failed', reason: 'killed by signal 9' });
    expect(lstatSync(log).isFile()).toBe(true);
    expect(readFileSync(log, 'utf8')).toBe('output\n');
    expect(readFileSync(victim, 'utf8')).toBe('precious');
  });

  it('are ended by their signal', async () => {
    await using agent = await startQuiesceAgent(() => []);
    agent.setHook('freeze', 'sleep 1000');
    const signal = AbortSignal.timeout(100);
    expect(await hooksOf(agent).run('freeze', { ...LIMIT, signal })).toMatchObject({ kind: 'failed' });
  });
});

describe("qemu-ga's hook program", () => {
  const done = (code: number): ProgramResult => ({
    kind: 'exited',
    program: '/h',
    code,
    output: Buffer.alloc(0),
  });

  it('is called with one argument, and told to thaw after a failure that came later', async () => {
    const calls: ProgramRequest[] = [];
    const hooks = programHooks(
      '/h',
      async (request) => {
        calls.push(request);
        return done(0);
      },
      recordingLog(),
    );
    const { signal } = new AbortController();
    expect(await hooks.freeze(signal)).toBeNull();
    await hooks.freezeFailed('freeze-hook');
    await hooks.freezeFailed('later');
    expect(await hooks.thaw()).toBeNull();
    expect(calls.map(({ candidates, args }) => [...candidates, ...args])).toEqual([
      ['/h', 'freeze'],
      ['/h', 'thaw'],
      ['/h', 'thaw'],
    ]);
  });

  it('none is fine, a failure is told', async () => {
    const none = programHooks(null, () => Promise.reject(new Error('called')), recordingLog());
    expect(await none.thaw()).toBeNull();
    const fails = programHooks('/h', async () => done(2), recordingLog());
    expect(await fails.thaw()).toEqual({ kind: 'program', result: done(2) });
  });
});
