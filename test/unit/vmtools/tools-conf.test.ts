/** tools.conf as open-vm-tools writes it (spec vmware.md section 11). */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import { openToolsConf, parseToolsConf } from '../../../src/protocols/vmtools/tools-conf.ts';
import { recordingLog } from '../../support/quiet-log.ts';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tools-conf-'));
  path = join(directory, 'tools.conf');
});
afterEach(() => rmSync(directory, { recursive: true }));

const TEXT = `# written by hand
[logging]
log = true

[powerops]
poweroff-script=my scripts/off
resume-script=
[guestinfo]
poll-interval = 60
disable-perf-mon=1
disable-query-diskinfo = false
primary-nics=eth*,ens192
`;

describe('the keys', () => {
  const log = recordingLog();
  const conf = parseToolsConf(Buffer.from(TEXT), log);

  it('are texts, flags and numbers', () => {
    expect(conf.text('powerops', 'poweroff-script')).toBe('my scripts/off');
    expect(conf.text('powerops', 'resume-script')).toBe('');
    expect(conf.text('powerops', 'suspend-script')).toBeUndefined();
    expect(conf.number('guestinfo', 'poll-interval')).toBe(60);
    expect(conf.number('guestinfo', 'stats-interval')).toBeUndefined();
    expect(conf.flag('guestinfo', 'disable-perf-mon')).toBe(true);
    expect(conf.flag('guestinfo', 'disable-query-diskinfo')).toBe(false);
    expect(conf.flag('vmtools', 'hide-tools-version')).toBeUndefined();
    expect(log.lines).toEqual([]);
  });

  it('that make no sense are as if they were not there, and logged', () => {
    const bad = parseToolsConf(
      Buffer.from('[guestinfo]\npoll-interval=often\ndisable-perf-mon=maybe\nexclude-nics=\\q\n'),
      log,
    );
    expect(bad.number('guestinfo', 'poll-interval')).toBeUndefined();
    expect(bad.flag('guestinfo', 'disable-perf-mon')).toBeUndefined();
    expect(bad.text('guestinfo', 'exclude-nics')).toBeUndefined();
    expect(log.lines).toHaveLength(3);
    expect(log.lines[0]).toBe('warning: tools.conf: [guestinfo] poll-interval: not a whole number');
  });
});

describe('the file', () => {
  it('may be missing, come, change and go', async () => {
    const log = recordingLog();
    const file = openToolsConf({ path, gate: createFreezeGate(), log });
    const off = async () => (await file.read()).text('powerops', 'poweroff-script');
    expect(await off()).toBeUndefined();
    writeFileSync(path, '[powerops]\npoweroff-script=a\n');
    expect(await off()).toBe('a');
    const same = await file.read();
    expect(await file.read()).toBe(same);
    writeFileSync(path, '[powerops]\npoweroff-script=long\n');
    expect(await off()).toBe('long');
    rmSync(path);
    expect(await off()).toBeUndefined();
    expect(log.lines).toEqual([]);
  });

  it.each<[string, () => void]>([
    ['a line that is none', () => writeFileSync(path, 'nonsense\n')],
    ['a directory', () => mkdirSync(path)],
    ['something endless', () => writeFileSync(path, Buffer.alloc(300 * 1024, '#'))],
  ])('%s leaves what was there before, and is told once', async (_what, make) => {
    const log = recordingLog();
    writeFileSync(path, '[powerops]\npoweroff-script=a\n');
    const file = openToolsConf({ path, gate: createFreezeGate(), log });
    await file.read();
    rmSync(path);
    make();
    for (let reads = 0; reads < 3; reads += 1)
      expect((await file.read()).text('powerops', 'poweroff-script')).toBe('a');
    expect(log.lines).toEqual([expect.stringMatching(/^warning: .*what it said before holds$/)]);
  });

  it('is not looked at while file systems are frozen', async () => {
    const gate = createFreezeGate();
    const file = openToolsConf({ path, gate, log: recordingLog() });
    await file.read();
    await gate.shut();
    writeFileSync(path, '[powerops]\npoweroff-script=a\n');
    expect((await file.read()).text('powerops', 'poweroff-script')).toBeUndefined();
    gate.open();
    expect((await file.read()).text('powerops', 'poweroff-script')).toBe('a');
  });

  it('is read once for all who ask at a time', async () => {
    writeFileSync(path, '[powerops]\npoweroff-script=a\n');
    const file = openToolsConf({ path, gate: createFreezeGate(), log: recordingLog() });
    const [one, other] = await Promise.all([file.read(), file.read()]);
    expect(one).toBe(other);
  });
});
