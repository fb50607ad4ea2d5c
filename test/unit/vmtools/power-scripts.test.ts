/** Where power scripts come from, and how their ends are told (spec vmware.md section 9; chr-wiki.txt, power operations). */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import { hookScripts, toolsScripts } from '../../../src/protocols/vmtools/power-scripts.ts';
import { parseToolsConf } from '../../../src/protocols/vmtools/tools-conf.ts';
import type { HookResult, HookRun, HookStart } from '../../../src/scripts/hooks.ts';
import type { ProgramExit, ProgramOptions } from '../../../src/scripts/program.ts';
import { recordingLog } from '../../support/quiet-log.ts';

describe('hooks', () => {
  const withResult = (start: HookStart, asked: HookRun[] = []) =>
    hookScripts({
      isThere: async () => true,
      start: async (_name, run) => {
        asked.push(run);
        return start;
      },
    });
  const ended = (result: HookResult): HookStart => ({ kind: 'running', ended: Promise.resolve(result) });

  it('have 30 s', async () => {
    const asked: HookRun[] = [];
    const script = await withResult(ended({ kind: 'success' }), asked).find('poweroff');
    await script?.start();
    expect(asked).toEqual([{ timeLimitMs: 30_000 }]);
  });

  it.each<[HookResult, unknown]>([
    [{ kind: 'success' }, { isSuccess: true, how: 'exit code: 0' }],
    [
      { kind: 'failed', reason: 'exit status 3' },
      { isSuccess: false, how: 'exit code: 3' },
    ],
    [
      { kind: 'failed', reason: 'killed by signal 9' },
      { isSuccess: false, how: 'canceled by signal: 9' },
    ],
    [
      { kind: 'failed', reason: 'timed out after 30 s' },
      { isSuccess: false, how: 'timed out after 30 s' },
    ],
  ])('%j is told as the reference tells it', async (result, expected) => {
    const started = await (await withResult(ended(result)).find('suspend'))?.start();
    expect(started && 'ended' in started && (await started.ended)).toEqual(expected);
  });

  it.each<[HookStart, string]>([
    [
      { kind: 'failed', reason: 'it cannot be started: Exec format error' },
      'it cannot be started: Exec format error',
    ],
    [{ kind: 'absent' }, 'it is gone'],
  ])('%j is a script that does not run', async (start, problem) => {
    expect(await (await withResult(start).find('suspend'))?.start()).toEqual({ problem });
  });

  it('that are not there, or switched off, are none', async () => {
    const scripts = hookScripts({ isThere: async () => false, start: () => Promise.reject(new Error()) });
    expect(await scripts.find('resume')).toBeNull();
  });
});

describe('the scripts of open-vm-tools', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'power-scripts-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  function build(conf: string, exit: Partial<ProgramExit> | Error) {
    const started: ProgramOptions[] = [];
    let released = 0;
    const scripts = toolsScripts({
      directory,
      gate: createFreezeGate(),
      toolsConf: { read: async () => parseToolsConf(Buffer.from(conf), recordingLog()) },
      programs: {
        async startProgram(program) {
          started.push(program);
          if (exit instanceof Error) throw exit;
          const end = { exitCode: 0, signal: 0, stdout: undefined, stderr: undefined, ...exit };
          return {
            pid: 1,
            exit: () => end,
            exited: Promise.resolve(),
            release: () => {
              released += 1;
            },
          };
        },
      },
    });
    return { scripts, started, released: () => released };
  }

  it.each([
    ['suspend-script=own', 'own'],
    ['suspend-script=my own', 'my own'],
    ['suspend-script=/bin/own', '/bin/own'],
    ['', 'suspend-vm-default'],
  ])('[powerops] %s: %s', async (line, path) => {
    writeFileSync(join(directory, 'suspend-vm-default'), '');
    const { scripts, started, released } = build(`[powerops]\n${line}\n`, { exitCode: 3 });
    const start = await (await scripts.find('suspend'))?.start();
    expect(start && 'ended' in start && (await start.ended)).toEqual({
      isSuccess: false,
      how: 'exit code: 3',
    });
    const expected = path.startsWith('/') ? path : join(directory, path);
    expect(started).toMatchObject([{ path: expected, args: [], capture: 'none' }]);
    expect(released()).toBe(1);
  });

  it.each(['[powerops]\nsuspend-script=\n', ''])(
    'none is to run with %j and no stock script',
    async (conf) => {
      expect(await build(conf, {}).scripts.find('suspend')).toBeNull();
    },
  );

  it('tells of signals, and of what cannot be started', async () => {
    const conf = '[powerops]\nsuspend-script=own\n';
    const killed = await (await build(conf, { exitCode: -1, signal: 9 }).scripts.find('suspend'))?.start();
    expect(killed && 'ended' in killed && (await killed.ended)).toEqual({
      isSuccess: false,
      how: 'canceled by signal: 9',
    });
    const missing = await build(conf, new Error('No such file or directory')).scripts.find('suspend');
    expect(await missing?.start()).toEqual({ problem: 'No such file or directory' });
  });
});
