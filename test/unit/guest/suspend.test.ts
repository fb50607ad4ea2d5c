import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { refusal } from '../../../src/guest/actions/policy.ts';
import { ActionRefused, createActions, type SuspendMode } from '../../../src/guest/actions.ts';
import type { ProgramRequest, ProgramResult } from '../../../src/guest/program.ts';
import { native } from '../../../src/native/index.ts';
import { type FakeRoot, makeFakeRoot } from '../../support/fake-root.ts';
import { recordingLog } from '../../support/quiet-log.ts';

const MODES: SuspendMode[] = ['disk', 'ram', 'hybrid'];

let root: FakeRoot;
let log: ReturnType<typeof recordingLog>;
/** Command lines in their order. */
let started: string[];
beforeEach(() => {
  root = makeFakeRoot();
  log = recordingLog();
  started = [];
});
afterEach(() => root[Symbol.dispose]());

/** A machine on which programs end with these numbers; those that are not named do not exist. */
function machine(exitCodes: Record<string, number | 'killed'>, noActions = false) {
  return createActions({
    native,
    log,
    noActions,
    testRoot: null,
    root: root.path,
    runProgram: async ({ candidates, args }: ProgramRequest): Promise<ProgramResult> => {
      const program = candidates[0] ?? '';
      const line = [program.replace('/usr/bin/', ''), ...args].join(' ');
      const outcome = exitCodes[line];
      if (outcome === undefined) return { kind: 'not-started', program, errno: 2 };
      started.push(line);
      const output = Buffer.from('said this\n');
      if (outcome === 'killed') return { kind: 'signaled', program, signal: 9, output };
      return { kind: 'exited', program, code: outcome, output };
    },
  });
}
const state = () => readFileSync(join(root.path, 'sys/power/state'), 'utf8');

describe('suspending', () => {
  it.each<[SuspendMode, string, string]>([
    ['disk', 'systemd-hibernate', 'hibernate'],
    ['ram', 'systemd-suspend', 'suspend'],
    ['hybrid', 'systemd-hybrid-sleep', 'hybrid-sleep'],
  ])('%s by systemd', async (mode, unit, verb) => {
    const actions = machine({
      [`systemctl status ${unit}`]: 3,
      [`systemctl ${verb}`]: 0,
      'pm-is-supported --suspend': 0,
    });
    await expect(actions.suspend(mode)).resolves.toEqual({ kind: 'done' });
    expect(started).toEqual([`systemctl status ${unit}`, `systemctl ${verb}`]);
    expect(log.lines).toEqual([]);
  });

  it.each<[SuspendMode, string, string]>([
    ['disk', '--hibernate', 'pm-hibernate'],
    ['ram', '--suspend', 'pm-suspend'],
    ['hybrid', '--suspend-hybrid', 'pm-suspend-hybrid'],
  ])('%s by pm-utils', async (mode, option, program) => {
    const actions = machine({ [`pm-is-supported ${option}`]: 0, [program]: 0 });
    await expect(actions.suspend(mode)).resolves.toEqual({ kind: 'done' });
    expect(started).toEqual([`pm-is-supported ${option}`, program]);
  });

  it.each<[SuspendMode, string]>([
    ['disk', 'disk'],
    ['ram', 'mem'],
  ])('%s by the kernel', async (mode, word) => {
    root.add({ 'sys/power/state': 'freeze mem disk\n' });
    await expect(machine({}).suspend(mode)).resolves.toEqual({ kind: 'done' });
    expect(state().startsWith(word)).toBe(true);
  });

  it.each(MODES)('%s: not supported where nothing can do it', async (mode) => {
    await expect(machine({}).suspend(mode)).resolves.toEqual({ kind: 'unsupported' });
    root.add({ 'sys/power/state': 'freeze\n' });
    await expect(machine({}).suspend(mode)).resolves.toEqual({ kind: 'unsupported' });
    expect(state()).toBe('freeze\n');
  });

  it('the kernel alone knows no hybrid sleep', async () => {
    root.add({ 'sys/power/state': 'mem disk\n' });
    await expect(machine({}).suspend('hybrid')).resolves.toEqual({ kind: 'unsupported' });
  });

  it.each([0, 4, 'killed'] as const)('a status of %s: systemd is not asked to do it', async (code) => {
    await machine({ 'systemctl status systemd-suspend': code, 'systemctl suspend': 0 }).suspend('ram');
    expect(started).toEqual(['systemctl status systemd-suspend']);
  });

  it('what fails is logged, and the next way is tried', async () => {
    root.add({ 'sys/power/state': 'mem\n' });
    const codes = {
      'systemctl status systemd-suspend': 3,
      'systemctl suspend': 1,
      'pm-is-supported --suspend': 0,
      'pm-suspend': 'killed',
    } as const;
    await expect(machine(codes).suspend('ram')).resolves.toEqual({ kind: 'done' });
    expect(started).toEqual(Object.keys(codes));
    expect(log.lines).toEqual([
      'warning: systemctl suspend failed: exit status 1 said this',
      'warning: pm-suspend failed: signal 9',
    ]);
    expect(state().startsWith('mem')).toBe(true);
  });
});

describe('with CHR_AGENT_NO_ACTIONS=1', () => {
  it.each(MODES)('%s is refused: one warning, nothing asked or done', async (mode) => {
    root.add({ 'sys/power/state': 'mem disk\n' });
    const actions = machine({ 'systemctl status systemd-suspend': 3, 'systemctl suspend': 0 }, true);
    await expect(actions.suspend(mode)).rejects.toThrow(ActionRefused);
    expect(log.lines).toEqual([
      `warning: refused: this run may not suspend the machine (${mode}) (CHR_AGENT_NO_ACTIONS=1)`,
    ]);
    expect(started).toEqual([]);
    expect(state()).toBe('mem disk\n');
    expect(refusal({ kind: 'suspend', mode })).not.toBeNull();
  });
});
