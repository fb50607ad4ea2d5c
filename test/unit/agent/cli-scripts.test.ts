/** `chr-agent scripts`: docs/cli.md. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { scripts } from '../../../src/agent/cli/scripts.ts';
import { startControlServer } from '../../../src/agent/control.ts';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import { HOOK_NAMES, type HookName, openHookSettings } from '../../../src/scripts/hook-settings.ts';
import { recordingLog } from '../../support/quiet-log.ts';

let directory: string;
let config: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cli-scripts-'));
  config = join(directory, 'agent.toml');
  writeFileSync(config, `[agent]\nstate-dir = "${directory}/state"\nruntime-dir = "${directory}/run"\n`);
});
afterEach(() => rmSync(directory, { recursive: true }));

async function run(...argv: string[]) {
  const printed = { out: '', err: '' };
  const status = await scripts([...argv, '--config', config], {
    env: {},
    out: (text) => {
      printed.out += text;
    },
    err: (text) => {
      printed.err += text;
    },
  });
  return { status, ...printed };
}

const disabledInFile = () => {
  const settings = openHookSettings({
    stateDir: join(directory, 'state'),
    gate: createFreezeGate(),
    log: recordingLog(),
  });
  return HOOK_NAMES.filter((name) => !settings.isEnabled(name));
};

describe('without a daemon', () => {
  it('lists, switches and keeps', async () => {
    expect((await run('list')).out.split('\n')).toHaveLength(HOOK_NAMES.length + 2);
    const { status, out } = await run('disable', 'poweroff', 'suspend');
    expect(status).toBe(0);
    expect(out.match(/^\S+ +disabled$/gm)).toHaveLength(2);
    expect(disabledInFile()).toEqual(['poweroff', 'suspend']);
    expect(JSON.parse((await run('enable', 'poweroff', '--json')).out)).toEqual([
      { name: 'poweroff', enabled: true },
    ]);
    expect(disabledInFile()).toEqual(['suspend']);
    expect((await run('list', 'suspend')).out).toMatch(/^SCRIPT +SETTING\nsuspend +disabled\n$/);
  });

  it('switches all without a name', async () => {
    await run('disable');
    expect(disabledInFile()).toEqual(HOOK_NAMES);
    await run('enable');
    expect(disabledInFile()).toEqual([]);
  });
});

describe('with a daemon', () => {
  it.each([true, false])('asks it (saved at once: %s)', async (saved) => {
    const asked: unknown[] = [];
    const off = new Set<HookName>();
    await using server = await daemon(saved, off, asked);
    const { status, out, err } = await run('disable', 'thaw');
    expect(status).toBe(0);
    expect(asked).toEqual([{ names: ['thaw'], enabled: false }]);
    expect(out).toMatch(/thaw +disabled/);
    expect(err).toBe(saved ? '' : 'chr-agent: in force; it is saved when the file systems are thawed\n');
    expect(disabledInFile()).toEqual([]);
    void server;
  });
});

async function daemon(saved: boolean, off: Set<HookName>, asked: unknown[]) {
  const server = await startControlServer({
    path: join(directory, 'run/control.sock'),
    log: recordingLog(),
    handlers: {
      scripts: () => HOOK_NAMES.map((name) => ({ name, enabled: !off.has(name) })),
      'scripts-set': (given) => {
        asked.push(given);
        for (const name of given.names) off.add(name);
        return { saved };
      },
    },
  });
  return { [Symbol.asyncDispose]: () => server.close() };
}

describe('usage', () => {
  it.each([
    [[], 'An action is missing'],
    [['stop'], "Unknown action 'stop'"],
    [['enable', 'lunch'], "Unknown script 'lunch'"],
    [['list', '--nope'], "Unknown option '--nope'"],
  ])('%j', async (argv, message) => {
    await expect(scripts(argv, { env: {}, out() {}, err() {} })).rejects.toThrow(message);
  });
});
