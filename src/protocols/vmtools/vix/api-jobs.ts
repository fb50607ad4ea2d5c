/**
 * The jobs that a host has started by VIX, as it may list them (spec chr-wiki.txt, provisioning): while they run, and after that
 * for about a minute or until they are listed by their JobID, also after a restart of the daemon. What a failed script printed
 * is left in the files directory.
 */
import { join } from 'node:path';
import type { FreezeGate } from '../../../guest/freeze-gate.ts';
import type { Log } from '../../../log.ts';
import type { Job, JobAccount, JobOutcome, JobRequest, Jobs } from '../../../scripts/job.ts';
import { keepOutput } from '../../../scripts/kept-output.ts';
import type { SetTimer } from '../timer.ts';
import type { JobIds } from './job-ids.ts';

export interface ApiJob {
  readonly id: number;
  /** The programPath by which it was asked for. */
  readonly name: string;
  readonly user: string;
  readonly startedAtMs: number;
  /** null while it runs. */
  readonly end: { readonly exitCode: 0 | -1; readonly atMs: number } | null;
  /** Resolves when there is an end. Never rejects. */
  readonly ended: Promise<void>;
}

export interface ApiJobs {
  /** Not while frozen. @throws {JobStartError} */
  start(name: string, source: JobRequest['source'], account: JobAccount): Promise<ApiJob>;
  /** All. */
  list(): readonly ApiJob[];
  /** Those with these numbers that are known; of them, what is completed is forgotten. */
  take(ids: readonly bigint[]): readonly ApiJob[];
  stop(): void;
}

export interface ApiJobsOptions {
  readonly jobs: Pick<Jobs, 'start' | 'list' | 'releaseOutput' | 'forget'>;
  readonly ids: JobIds;
  readonly gate: FreezeGate;
  readonly log: Log;
  readonly filesDir: string;
  readonly timeLimitMs: number;
  readonly setTimer: SetTimer;
  readonly nowMs?: () => number;
}

const ORIGIN = 'vix';
const KEPT_MS = 60_000;

interface Entry extends Identity {
  readonly job: Job;
  readonly startedAtMs: number;
  end: ApiJob['end'];
  readonly ended: Promise<void>;
  cancelTimer: () => void;
}

/** The note of a job in the journal of scripts. */
interface Identity {
  readonly id: number;
  readonly name: string;
  readonly user: string;
}

export function createApiJobs(options: ApiJobsOptions): ApiJobs {
  const { jobs, ids, gate, log, filesDir, timeLimitMs, setTimer, nowMs = Date.now } = options;
  const entries = new Map<number, Entry>();
  let isStopped = false;
  for (const job of jobs.list()) recover(job);

  /** A job of an earlier daemon; what ran when that ended has ended with it. */
  function recover(job: Job): void {
    const identity = job.origin === ORIGIN ? parseNote(job.note) : null;
    if (identity === null || job.status.state !== 'finished') return;
    const { outcome, endedAtMs } = job.status;
    add({ ...identity, job, end: endOf(outcome, endedAtMs), ended: Promise.resolve() });
  }

  function add(entry: Omit<Entry, 'startedAtMs' | 'cancelTimer'>): Entry {
    const added: Entry = { ...entry, startedAtMs: entry.job.startedAtMs, cancelTimer: () => undefined };
    entries.set(added.id, added);
    if (added.end !== null) dropLater(added);
    return added;
  }

  function dropLater(entry: Entry): void {
    if (!isStopped) entry.cancelTimer = setTimer(() => drop(entry), KEPT_MS);
  }

  function drop(entry: Entry): void {
    entry.cancelTimer();
    entries.delete(entry.id);
    jobs.forget(entry.job);
  }

  /** An end that is told is one whose output is there already. */
  async function attend(entry: Entry): Promise<void> {
    const { job } = entry;
    const outcome = await job.finished;
    const atMs = nowMs();
    if (outcome.kind === 'failed' || outcome.kind === 'killed') {
      const path = join(filesDir, `vix_job_${entry.id}.txt`);
      try {
        await gate.pass(() => keepOutput(path, job.output));
        log.warning(`job ${entry.id} (${entry.name}) failed, its output is in ${path}`);
      } catch (error) {
        log.warning(`job ${entry.id} (${entry.name}) failed, its output cannot be kept: ${String(error)}`);
      }
    }
    if (outcome.kind === 'timed-out')
      log.warning(`job ${entry.id} (${entry.name}) ran out of time: ${timeLimitMs / 1000} s`);
    jobs.releaseOutput(job);
    entry.end = endOf(outcome, atMs);
    dropLater(entry);
  }

  return {
    async start(name, source, account) {
      const id = await gate.pass(() => ids.next());
      const identity: Identity = { id, name, user: account.name };
      const note = JSON.stringify(identity);
      const request = { origin: ORIGIN, source, timeLimitMs, captureOutput: true, account, note };
      const job = await jobs.start(request);
      const { promise, resolve } = Promise.withResolvers<void>();
      const entry = add({ ...identity, job, end: null, ended: promise });
      void attend(entry).then(resolve);
      return entry;
    },
    list: () => [...entries.values()],
    take(wanted) {
      // a number that is asked for twice is one job
      const found = [...new Set(wanted)].flatMap((id) => entries.get(Number(id)) ?? []);
      for (const entry of found) if (entry.end !== null) drop(entry);
      return found;
    },
    stop() {
      isStopped = true;
      for (const entry of entries.values()) entry.cancelTimer();
    },
  };
}

const endOf = (outcome: JobOutcome, atMs: number): ApiJob['end'] => ({
  exitCode: outcome.kind === 'success' ? 0 : -1,
  atMs,
});

function parseNote(note: string | null): Identity | null {
  try {
    const { id, name, user } = JSON.parse(note ?? '{}') as Partial<Record<string, unknown>>;
    const isValid = Number.isSafeInteger(id) && typeof name === 'string' && typeof user === 'string';
    return isValid ? { id: Number(id), name, user } : null;
  } catch {
    return null;
  }
}
