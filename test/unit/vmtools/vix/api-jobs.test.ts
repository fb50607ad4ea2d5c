/** How long a host can ask for the jobs that it has started (spec chr-wiki.txt, provisioning). */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFreezeGate } from '../../../../src/guest/freeze-gate.ts';
import { type ApiJobs, createApiJobs } from '../../../../src/protocols/vmtools/vix/api-jobs.ts';
import type { Job, JobOutcome, JobState } from '../../../../src/scripts/job.ts';
import { fakeJobs } from '../../../support/fake-jobs.ts';
import { recordingLog } from '../../../support/quiet-log.ts';
import { virtualClock } from '../../../support/virtual-clock.ts';

const NOW_MS = 1_795_000_000_000;
const ACCOUNT = { name: 'operator', uid: 1000, gid: 1000, groups: [1000], home: '/' };
const MINUTE_MS = 60_000;

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'api-jobs-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

function setUp(earlier: readonly Job[] = []) {
  const scripts = fakeJobs();
  const clock = virtualClock(NOW_MS);
  const gate = createFreezeGate();
  let free = 0;
  const jobs = createApiJobs({
    jobs: { ...scripts, list: () => earlier },
    ids: { next: async () => (free += 1) },
    gate,
    log: recordingLog(),
    filesDir: directory,
    timeLimitMs: 120_000,
    setTimer: clock.setTimer,
    nowMs: clock.wallMs,
  });
  const start = () => jobs.start('inline', { kind: 'text', text: Buffer.from('true') }, ACCOUNT);
  return { jobs, scripts, clock, gate, start };
}

const ids = (jobs: ApiJobs): number[] => jobs.list().map(({ id }) => id);

describe('a job', () => {
  it('that runs is kept however often and long it is asked for', async () => {
    const { jobs, clock, start } = setUp();
    await start();
    await clock.advance(2 * MINUTE_MS);
    for (let count = 0; count < 3; count += 1) expect(jobs.take([1n])).toMatchObject([{ id: 1, end: null }]);
    expect(ids(jobs)).toEqual([1]);
  });

  it('that has ended is kept for a minute, whatever lists of all are asked for', async () => {
    const { jobs, scripts, clock, start } = setUp();
    const { ended } = await start();
    await clock.advance(5000);
    scripts.end();
    await ended;
    expect(jobs.list()).toMatchObject([{ id: 1, end: { exitCode: 0, atMs: NOW_MS + 5000 } }]);
    await clock.advance(MINUTE_MS - 1);
    expect(ids(jobs)).toEqual([1]);
    await clock.advance(1);
    expect(ids(jobs)).toEqual([]);
    expect(scripts.forgotten).toBe(1);
  });

  it('that has ended is gone once it was asked for by its number, and so is its timer', async () => {
    const { jobs, scripts, clock, start } = setUp();
    const { ended } = await start();
    scripts.end();
    await ended;
    expect(jobs.take([7n, 1n, 1n])).toHaveLength(1);
    expect([ids(jobs), scripts.forgotten, clock.timers]).toEqual([[], 1, 0]);
  });

  it.each<[JobOutcome, number, boolean]>([
    [{ kind: 'success' }, 0, false],
    [{ kind: 'failed', exitCode: 3 }, -1, true],
    [{ kind: 'killed', signal: 9 }, -1, true],
    [{ kind: 'timed-out' }, -1, false],
  ])('%j: exit code %d, output in a file: %s', async (outcome, exitCode, isKept) => {
    const { jobs, scripts, start } = setUp();
    const { ended } = await start();
    scripts.end(outcome, 'what it printed');
    await ended;
    expect(jobs.list()[0]?.end?.exitCode).toBe(exitCode);
    const path = join(directory, 'vix_job_1.txt');
    expect(existsSync(path)).toBe(isKept);
    if (isKept) expect(readFileSync(path, 'utf8')).toBe('what it printed');
  });

  it('that fails while frozen has its end when its output is there, after the thaw', async () => {
    const { jobs, scripts, gate, start } = setUp();
    const { ended } = await start();
    await gate.shut();
    scripts.end({ kind: 'failed', exitCode: 1 }, 'trouble');
    for (let count = 0; count < 5; count += 1) await turn();
    expect(jobs.take([1n])).toMatchObject([{ end: null }]);
    expect(existsSync(join(directory, 'vix_job_1.txt'))).toBe(false);
    gate.open();
    await ended;
    expect(jobs.list()).toMatchObject([{ end: { exitCode: -1, atMs: NOW_MS } }]);
    expect(readFileSync(join(directory, 'vix_job_1.txt'), 'utf8')).toBe('trouble');
  });

  it('leaves no timer when the agent stops, also if it ends after that', async () => {
    const { jobs, scripts, clock, start } = setUp();
    const first = await start();
    scripts.end();
    await first.ended;
    const second = await start();
    jobs.stop();
    scripts.end();
    await second.ended;
    expect(clock.timers).toBe(0);
  });
});

describe('after a restart', () => {
  const job = (note: string | null, status: JobState, origin = 'vix'): Job => ({
    pid: 1,
    origin,
    startedAtMs: NOW_MS - 9000,
    note,
    status,
    output: { sizeBytes: 0, truncated: false, read: async () => 0 },
    finished: new Promise(() => undefined),
    kill: async () => undefined,
  });
  const lost: JobState = { state: 'finished', outcome: { kind: 'lost' }, endedAtMs: NOW_MS - 1000 };
  const note = (id: number) => JSON.stringify({ id, name: 'inline', user: 'operator' });

  it('what was lost is listed with an end, for a minute', async () => {
    const { jobs, clock } = setUp([job(note(4), lost)]);
    expect(jobs.list()).toMatchObject([
      { id: 4, name: 'inline', user: 'operator', startedAtMs: NOW_MS - 9000, end: { exitCode: -1 } },
    ]);
    await clock.advance(MINUTE_MS);
    expect(ids(jobs)).toEqual([]);
  });

  it("others' scripts and damaged notes are not listed", () => {
    const others = [job(note(4), lost, 'qemu-ga'), job(null, lost), job('nonsense', lost), job('{}', lost)];
    expect(ids(setUp(others).jobs)).toEqual([]);
  });
});
