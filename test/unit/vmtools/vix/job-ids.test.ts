/** JobIDs over restarts (spec chr-wiki.txt, provisioning). */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openJobIds } from '../../../../src/protocols/vmtools/vix/job-ids.ts';
import { recordingLog } from '../../../support/quiet-log.ts';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'job-ids-'));
  path = join(directory, 'vix-jobs');
});
afterEach(() => rmSync(directory, { recursive: true }));

const NOW_MS = 1_795_000_000_000;
const open = (log = recordingLog()) => openJobIds(path, log, () => NOW_MS);

it('counts from 1, also when many ask at once, and beyond a block', async () => {
  const ids = open();
  const given = await Promise.all(Array.from({ length: 250 }, () => ids.next()));
  expect(given).toEqual(Array.from({ length: 250 }, (_, index) => index + 1));
});

it('gives no number twice after a restart', async () => {
  await open().next();
  expect(readFileSync(path, 'latin1')).toBe('chr-agent job ids 1\nfree 101\n');
  expect(await open().next()).toBe(101);
  expect(readdirSync(directory)).toEqual(['vix-jobs']);
});

it.each(['', 'nonsense', 'chr-agent job ids 1\nfree -5\n', 'chr-agent job ids 1\nfree 1'])(
  'sets a damaged file aside: %j',
  async (text) => {
    writeFileSync(path, text);
    const log = recordingLog();
    expect(await open(log).next()).toBe(NOW_MS / 1000);
    expect(readFileSync(`${path}.damaged`, 'latin1')).toBe(text);
    expect(log.lines).toHaveLength(1);
  },
);

it('goes on without a file that can be written', async () => {
  rmSync(directory, { recursive: true });
  const log = recordingLog();
  const ids = open(log);
  expect([await ids.next(), await ids.next()]).toEqual([1, 2]);
  expect(log.lines).toHaveLength(1);
  writeFileSync(directory, '');
});
