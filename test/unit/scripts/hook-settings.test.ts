/** The console's switches of hook scripts (spec chr-wiki.txt, power operations): they hold over restarts. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import { HOOK_NAMES, openHookSettings } from '../../../src/scripts/hook-settings.ts';
import { recordingLog } from '../../support/quiet-log.ts';

let stateDir: string;
let log: ReturnType<typeof recordingLog>;
let gate: ReturnType<typeof createFreezeGate>;
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'hook-settings-'));
  log = recordingLog();
  gate = createFreezeGate();
});
afterEach(() => rmSync(stateDir, { recursive: true }));

const path = () => join(stateDir, 'scripts.state');
const open = () => openHookSettings({ stateDir, gate, log });
const disabled = () => HOOK_NAMES.filter((name) => !open().isEnabled(name));

describe('hook settings', () => {
  it('are all on at first, and write nothing by themselves', () => {
    expect(disabled()).toEqual([]);
    expect(readdirSync(stateDir)).toEqual([]);
  });

  it('hold at once and over restarts', async () => {
    const settings = open();
    const saved = settings.setEnabled(['poweroff', 'thaw'], false);
    expect(settings.isEnabled('poweroff')).toBe(false);
    await saved;
    expect(disabled()).toEqual(['poweroff', 'thaw']);
    await settings.setEnabled(['poweroff'], true);
    expect(disabled()).toEqual(['thaw']);
    expect(readdirSync(stateDir)).toEqual(['scripts.state']);
  });

  it('are on the disk in the order in which they were made', async () => {
    const settings = open();
    await Promise.all(
      HOOK_NAMES.flatMap((name) => [settings.setEnabled([name], false), settings.setEnabled([name], true)]),
    );
    expect(disabled()).toEqual([]);
  });

  it('are saved after the thaw, in force before', async () => {
    const settings = open();
    await gate.shut();
    let isSaved = false;
    const saved = settings.setEnabled(['suspend'], false).then(() => {
      isSaved = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect([settings.isEnabled('suspend'), isSaved, existsSync(path())]).toEqual([false, false, false]);
    gate.open();
    await saved;
    expect(disabled()).toEqual(['suspend']);
  });

  it.each(['', '{', '[]', '{"version":1}', 'null'])(
    'a damaged file (%j) is set aside, and all are on',
    (text) => {
      writeFileSync(path(), text);
      expect(disabled()).toEqual([]);
      expect(log.lines[0]).toContain('is damaged and set aside, all scripts are on');
      expect(readdirSync(stateDir)).toEqual(['scripts.state.damaged']);
    },
  );

  it('names of a later version are left out', () => {
    writeFileSync(path(), '{"version":2,"disabled":["thaw","after-lunch",7]}');
    expect(disabled()).toEqual(['thaw']);
  });

  it('a directory that is missing is made; a failure is told to who asked, and the next try is another one', async () => {
    const settings = openHookSettings({ stateDir: join(stateDir, 'a/b'), gate, log });
    mkdirSync(join(stateDir, 'a/b/scripts.state/x'), { recursive: true });
    await expect(settings.setEnabled(['thaw'], false)).rejects.toThrow(/EISDIR|ENOTEMPTY|EEXIST/);
    expect(settings.isEnabled('thaw')).toBe(false);
    rmSync(join(stateDir, 'a'), { recursive: true });
    await settings.setEnabled(['thaw'], false);
    expect(existsSync(join(stateDir, 'a/b/scripts.state'))).toBe(true);
  });
});
