import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import { openJournal, replay } from '../../../src/scripts/journal.ts';

let directory = '';
let warnings: string[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'chr-agent-journal-'));
  warnings = [];
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const quiet = () => undefined;
const log = { error: quiet, info: quiet, debug: quiet, warning: (text: string) => void warnings.push(text) };
const file = () => join(directory, 'jobs.journal');
const text = () => readFileSync(file(), 'utf8');
const job = (id: string, pid: number) => ({ id, pid, origin: 'test', startedAtMs: 1000 + pid });
const open = (more: { compactBytes?: number; maxRecovered?: number } = {}, gate = createFreezeGate()) =>
  openJournal({ directory, gate, log, nowMs: () => 5000, ...more });

describe('the job journal', () => {
  it('tells a later daemon what became of the jobs', async () => {
    const journal = await open();
    expect(journal.recovered).toEqual([]);
    await journal.started(job('a', 10));
    await journal.started(job('b', 11));
    await journal.started(job('c', 12));
    journal.ended('a', { kind: 'failed', exitCode: 3 }, 2000);
    journal.ended('c', { kind: 'success' }, 2001);
    journal.forgotten('c');
    await journal.close();

    const lost = { outcome: { kind: 'lost' }, endedAtMs: 5000 };
    const expected = [
      { ...job('a', 10), end: { outcome: { kind: 'failed', exitCode: 3 }, endedAtMs: 2000 } },
      { ...job('b', 11), end: lost },
    ];
    for (let times = 0; times < 2; times += 1) {
      const later = await open();
      expect(later.recovered).toEqual(expected);
      await later.close();
    }
    expect(warnings).toEqual([]);
    expect(readdirSync(directory)).toEqual(['jobs.journal']);
    expect(statSync(file()).mode & 0o777).toBe(0o600);
  });

  it('has the start in the file before the daemon answers', async () => {
    const journal = await open();
    await journal.started(job('a', 10));
    expect(replay(text()).jobs.get('a')?.pid).toBe(10);
    await journal.close();
  });

  it('sets a damaged file aside, and uses its good lines', async () => {
    const journal = await open();
    await journal.started(job('a', 10));
    await journal.started(job('b', 11));
    await journal.close();
    const damaged = `${text()}{"event":"ended","id":"b","outcome":{"kind":"odd"},"atMs":1}\n\0\0\0\n{"event":"sta`;
    writeFileSync(file(), damaged);
    const later = await open();
    expect(later.recovered.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(readFileSync(`${file()}.damaged`, 'utf8')).toBe(damaged);
    expect(warnings.join()).toMatch(/3 damaged lines/);
    await later.close();
    expect(replay(text())).toMatchObject({ damaged: 0, jobs: { size: 2 } });
  });

  it('is not fatal when it cannot be written', async () => {
    rmSync(directory, { recursive: true });
    writeFileSync(directory, '');
    const journal = await open();
    await journal.started(job('a', 10));
    journal.ended('a', { kind: 'success' }, 1);
    await journal.close();
    expect(warnings.length).toBe(1);
  });

  it('waits in memory while frozen', async () => {
    const gate = createFreezeGate();
    const journal = await open({}, gate);
    await journal.started(job('first', 9));
    const before = text();
    gate.shut();
    await journal.started(job('a', 10));
    journal.ended('a', { kind: 'timed-out' }, 1);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(text()).toBe(before);
    gate.open();
    await journal.started(job('b', 11));
    expect([...replay(text()).jobs.keys()]).toEqual(['first', 'a', 'b']);
    await journal.close();
  });

  it('is rewritten when it has grown, and only then', async () => {
    const journal = await open({ compactBytes: 2000 });
    let largest = 0;
    for (let at = 1; at <= 200; at += 1) {
      await journal.started(job(`id${at}`, at));
      journal.ended(`id${at}`, { kind: 'success' }, at);
      if (at % 50 !== 0) journal.forgotten(`id${at}`);
      largest = Math.max(largest, statSync(file()).size);
    }
    await journal.close();
    expect(largest).toBeLessThan(3000);
    const later = await open();
    expect(later.recovered.map(({ id }) => id)).toEqual(['id50', 'id100', 'id150', 'id200']);
    await later.close();
  });

  it('takes over a bounded number', async () => {
    const journal = await open();
    for (let at = 1; at <= 30; at += 1) await journal.started(job(`id${at}`, at));
    await journal.close();
    const later = await open({ maxRecovered: 2 });
    expect(later.recovered.map(({ id }) => id)).toEqual(['id29', 'id30']);
    await later.close();
  });
});
