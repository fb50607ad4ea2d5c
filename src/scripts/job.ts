/**
 * What a script job is, for every protocol: design.md "One script engine". A protocol makes a {@link JobRequest}, and maps
 * the {@link JobOutcome} to its own exit code.
 */

export type JobSource =
  /** A script file; a relative path resolves in the files directory and may not leave it. */
  { kind: 'file'; path: string } | { kind: 'text'; text: Buffer };

/** Who a script runs as. Its groups are exactly these. */
export interface JobAccount {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly home: string;
}

export interface JobRequest {
  /** Who asked: 'qemu-ga', 'vix', 'xenstore', 'hook' … For the journal, the log and `CHR_AGENT_ORIGIN`. */
  origin: string;
  source: JobSource;
  timeLimitMs: number;
  /** Whether the output is kept. If not, it goes to /dev/null. */
  captureOutput: boolean;
  /** Default: the agent's own, root. */
  account?: JobAccount;
  /** What the caller wants to know of the job after a restart of the daemon. */
  note?: string;
}

export type JobOutcome =
  /** Exit status 0. */
  | { kind: 'success' }
  | { kind: 'failed'; exitCode: number }
  /** A signal ended it, or {@link Job.kill} did; then nothing of its tree is left. */
  | { kind: 'killed'; signal: number }
  /** Nothing of its tree is left. */
  | { kind: 'timed-out' }
  /** The daemon ended while it ran (and took it along): known from the journal after a restart. */
  | { kind: 'lost' };

export type JobState = { state: 'running' } | { state: 'finished'; outcome: JobOutcome; endedAtMs: number };

/** The merged output of a job, up to the cap; it lives in memory or in an unlinked file. */
export interface JobOutput {
  readonly sizeBytes: number;
  readonly truncated: boolean;
  /** Reads at `position` into target[start, end); 0 at the end. */
  read(target: Uint8Array, start: number, end: number, position: number): Promise<number>;
}

export interface Job {
  /** The script's process id, by which hosts ask for it. */
  readonly pid: number;
  readonly origin: string;
  readonly startedAtMs: number;
  /** The request's, or null. */
  readonly note: string | null;
  /** Changes from running to finished once. */
  readonly status: JobState;
  readonly output: JobOutput;
  /** Resolves when finished. Never rejects. */
  readonly finished: Promise<JobOutcome>;
  /** Ends the script and all that it started; resolves when nothing of it is left. */
  kill(): Promise<void>;
}

/** Why a script did not start. `text` is strerror's. */
export class JobStartError extends Error {
  override name = 'JobStartError';
  readonly errno: number;
  constructor(errno: number, text: string) {
    super(text);
    this.errno = errno;
  }
}

export interface Jobs {
  /**
   * Starts a script; resolves when it runs. While file systems are frozen it waits for the thaw.
   * @throws {JobStartError} ENOENT, EACCES (also a path that leaves the files directory), EISDIR, ENOEXEC (a broken `#!`
   *   line), EAGAIN or EMFILE (too many), ECANCELED (the agent stops) …
   */
  start(request: JobRequest): Promise<Job>;
  /** By process id; also jobs that an earlier run of the daemon left in the journal (then `lost` or their outcome). */
  get(pid: number): Job | undefined;
  /** Drops the output of a finished job; its outcome stays. */
  releaseOutput(job: Job): void;
  /** Drops a finished job and its output. */
  forget(job: Job): void;
  list(): readonly Job[];
  /** Refuses new jobs, waits up to `limitMs` for the running ones, then kills what is left. */
  drain(limitMs: number): Promise<void>;
}
