/** One job as the engine's table holds it, and how a script's end reads as a job's outcome. */
import type { Job, JobOutcome, JobOutput, JobState } from './job.ts';
import type { JournalJob } from './journal.ts';
import { NO_OUTPUT, type Output } from './output.ts';
import type { Script, ScriptEnd } from './supervisor.ts';

/** A job in the table. */
export class TableJob implements Job {
  readonly id: string;
  readonly pid: number;
  readonly origin: string;
  readonly startedAtMs: number;
  readonly note: string | null;
  readonly finished: Promise<JobOutcome>;
  status: JobState = { state: 'running' };
  readonly #script: Script | null;
  readonly #output: Output | null;
  readonly #resolve: (outcome: JobOutcome) => void;

  constructor(
    { id, pid, origin, startedAtMs, note }: JournalJob,
    script: Script | null,
    output: Output | null,
  ) {
    this.id = id;
    this.pid = pid;
    this.origin = origin;
    this.startedAtMs = startedAtMs;
    this.note = note ?? null;
    this.#script = script;
    this.#output = output;
    const { promise, resolve } = Promise.withResolvers<JobOutcome>();
    this.finished = promise;
    this.#resolve = resolve;
  }

  get output(): JobOutput {
    return this.#output ?? NO_OUTPUT;
  }

  async kill(): Promise<void> {
    if (this.status.state === 'running') this.#script?.kill();
    await this.finished;
  }

  settle(outcome: JobOutcome, endedAtMs: number): void {
    this.status = { state: 'finished', outcome, endedAtMs };
    this.#resolve(outcome);
  }

  release(): void {
    this.#output?.release();
  }
}

/** A job of an earlier daemon, whose output is gone. */
export function recoveredJob(known: JournalJob): TableJob {
  const job = new TableJob(known, null, null);
  job.settle(known.end?.outcome ?? { kind: 'lost' }, known.end?.endedAtMs ?? known.startedAtMs);
  return job;
}

export function outcomeOf(end: ScriptEnd): JobOutcome {
  switch (end.kind) {
    case 'exited':
      return end.code === 0 ? { kind: 'success' } : { kind: 'failed', exitCode: end.code };
    case 'signaled':
    case 'killed':
      return { kind: 'killed', signal: end.signal };
    case 'timed-out':
      return { kind: 'timed-out' };
  }
}

/** For the log. */
export function describe(outcome: JobOutcome): string {
  switch (outcome.kind) {
    case 'failed':
      return `failed with exit status ${outcome.exitCode}`;
    case 'killed':
      return `killed by signal ${outcome.signal}`;
    default:
      return outcome.kind;
  }
}
