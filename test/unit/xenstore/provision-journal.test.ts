import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import {
  afterLook,
  afterTake,
  judge,
  type Occasion,
  openProvisionJournal,
  type ProvisionRecord,
} from '../../../src/protocols/xenstore/provision-journal.ts';
import { recordingLog } from '../../support/quiet-log.ts';

const NOW: Occasion = { bootId: 'boot-1', domain: '5/', machine: 'uuid' };
const record = (more: Partial<ProvisionRecord> = {}): ProvisionRecord => ({
  occasion: NOW,
  present: null,
  taken: ['a', 'b'],
  ...more,
});

describe('what is a new script', () => {
  it.each<[string, ProvisionRecord | null, Partial<Occasion>, boolean, 'new' | 'known']>([
    ['the first', null, {}, false, 'new'],
    ['one that was taken out of the node', record(), {}, false, 'new'],
    ['one that is still there', record({ present: 'a' }), {}, false, 'known'],
    ['one that is there in the place of another', record({ present: 'b' }), {}, false, 'new'],
    ['one that another domain brings along', record(), { domain: '6/' }, false, 'known'],
    ['the same, though it runs at every boot', record(), { domain: '6/' }, true, 'known'],
    ['one that has not run, in another domain', record({ taken: ['b'] }), { domain: '6/' }, false, 'new'],
    ['one that is there at the next boot', record(), { bootId: 'boot-2' }, false, 'known'],
    ['the same, as it runs at every boot', record(), { bootId: 'boot-2' }, true, 'new'],
    ['one that has not run, at the next boot', record({ taken: [] }), { bootId: 'boot-2' }, false, 'new'],
    ['one in a copy of the machine', record(), { bootId: 'boot-2', machine: 'other' }, false, 'new'],
    ['no copy: the host does not tell which', record(), { bootId: 'boot-2', machine: '' }, false, 'known'],
    ['no copy: a UUID for the time of a migration', record(), { domain: '6/', machine: 'x' }, false, 'known'],
  ])('%s', (_what, known, now, runAtEveryBoot, expected) => {
    expect(judge(known, { value: 'a', whole: 'a' }, { ...NOW, ...now }, runAtEveryBoot)).toBe(expected);
  });
});

it('pieces that change below a value that stays are no new script; as a whole they are what has run', () => {
  const pieces = { value: 'pieces=2', whole: 'c' };
  expect(judge(record({ present: 'pieces=2' }), pieces, NOW, false)).toBe('known');
  expect(judge(record(), pieces, NOW, false)).toBe('new');
  expect(judge(record(), pieces, { ...NOW, domain: '6/' }, false)).toBe('new');
  expect(judge(record({ taken: ['c'] }), pieces, { ...NOW, domain: '6/' }, false)).toBe('known');
});

describe('the record', () => {
  it('is not begun for an empty node, and stays as it is while nothing changes', () => {
    expect(afterLook(null, null, NOW)).toBeNull();
    const known = record();
    expect(afterLook(known, null, NOW)).toBe(known);
    expect(afterLook(known, 'c', NOW)).toEqual(record({ present: 'c' }));
    expect(afterLook(known, null, { ...NOW, domain: '6/' })?.occasion.domain).toBe('6/');
  });

  it('keeps each script once, and not all of them for ever', () => {
    expect(afterTake(record(), 'a', null, NOW).taken).toEqual(['b', 'a']);
    let long: ProvisionRecord | null = null;
    for (let count = 0; count < 100; count += 1) long = afterTake(long, `script ${count}`, null, NOW);
    expect(long?.taken.length).toBe(64);
    expect(long?.taken.at(-1)).toBe('script 99');
  });
});

describe('the file', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'journal-'));
    path = join(directory, 'journal');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('is there for the next run', async () => {
    const log = recordingLog();
    const journal = openProvisionJournal(path, createFreezeGate(), log);
    expect(journal.record).toBeNull();
    await journal.save(null);
    expect(() => readFileSync(path)).toThrow('ENOENT');
    await Promise.all([journal.save(record()), journal.save(record({ present: 'a' }))]);
    expect(openProvisionJournal(path, createFreezeGate(), log).record).toEqual(record({ present: 'a' }));
    expect(log.lines).toEqual([]);
  });

  it('waits for the thaw', async () => {
    const gate = createFreezeGate();
    const journal = openProvisionJournal(path, gate, recordingLog());
    await gate.shut();
    const saved = journal.save(record());
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(() => readFileSync(path)).toThrow('ENOENT');
    gate.open();
    await saved;
    expect(readFileSync(path, 'utf8')).toContain('boot-1');
  });

  it.each([
    ['nothing', ''],
    ['half of it', '{"version":1,"occasion":{"bootId":"b"'],
    ['another version', JSON.stringify({ version: 2, ...record() })],
    ['no occasion', JSON.stringify({ version: 1, present: null, taken: [] })],
    ['a wrong list', JSON.stringify({ version: 1, ...record(), taken: [1] })],
    ['no object', '[]'],
  ])('that is damaged counts as none, with a log line: %s', (_what, text) => {
    writeFileSync(path, text);
    const log = recordingLog();
    expect(openProvisionJournal(path, createFreezeGate(), log).record).toBeNull();
    expect(log.lines).toHaveLength(1);
  });

  it('that cannot be written is logged once, and known in memory all the same', async () => {
    const log = recordingLog();
    const journal = openProvisionJournal(join(directory, 'missing/journal'), createFreezeGate(), log);
    await journal.save(record());
    await journal.save(record({ present: 'a' }));
    expect(journal.record?.present).toBe('a');
    expect(log.lines).toHaveLength(1);
  });
});
