/**
 * The administrator's hook scripts: `freeze`, `freeze-fail`, `thaw`, and those of power operations, each a file of that
 * name in one directory (design.md "Script semantics"). A missing one is fine. What a failed one printed is kept as
 * `NAME-script.log` in the files directory, where the host can fetch it.
 */
import { constants, promises as fs } from 'node:fs';
import { join } from 'node:path';
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { Log } from '../log.ts';
import { errnoOf } from './files.ts';
import { type Job, type JobOutcome, type JobOutput, JobStartError, type Jobs } from './job.ts';

export type HookName = 'freeze' | 'freeze-fail' | 'thaw' | 'poweron' | 'resume' | 'poweroff' | 'suspend';

export type HookResult =
  /** There is none, or it is switched off. */
  | { kind: 'absent' }
  | { kind: 'success' }
  /** `reason`: `timed out after 60 s`, `exit status 3` … */
  | { kind: 'failed'; reason: string };

export interface HookRun {
  timeLimitMs: number;
  /** Ends the script and all that it started. */
  signal?: AbortSignal;
}

export interface Hooks {
  /** Runs one to its end. Never rejects. */
  run(name: HookName, options: HookRun): Promise<HookResult>;
  isEnabled(name: HookName): boolean;
  setEnabled(name: HookName, enabled: boolean): void;
}

export interface HooksOptions {
  jobs: Pick<Jobs, 'start' | 'forget'>;
  gate: FreezeGate;
  log: Log;
  hooksDir: string;
  filesDir: string;
}

/** Of the output that a failed script leaves behind. */
const MAX_LOG_BYTES = 1024 * 1024;
const ORIGIN = 'hook';
const ENOENT = 2;
const ENOTDIR = 20;

export function createHooks({ jobs, gate, log, hooksDir, filesDir }: HooksOptions): Hooks {
  const disabled = new Set<HookName>();

  async function run(name: HookName, options: HookRun): Promise<HookResult> {
    if (disabled.has(name)) return { kind: 'absent' };
    const path = join(hooksDir, name);
    if (!(await gate.pass(() => exists(path)))) return { kind: 'absent' };
    let job: Job;
    try {
      job = await jobs.start({
        origin: ORIGIN,
        source: { kind: 'file', path },
        timeLimitMs: options.timeLimitMs,
        captureOutput: true,
      });
    } catch (error) {
      if (!(error instanceof JobStartError)) throw error;
      return failed(name, `it cannot be started: ${error.message}`, null);
    }
    const outcome = await outcomeOf(job, options.signal);
    const reason = failureReason(outcome, options.timeLimitMs);
    const result = reason === null ? { kind: 'success' as const } : await failed(name, reason, job.output);
    jobs.forget(job);
    return result;
  }

  async function failed(name: HookName, reason: string, output: JobOutput | null): Promise<HookResult> {
    const path = join(filesDir, `${name}-script.log`);
    try {
      const bytes = output === null ? Buffer.from(`${reason}\n`) : await firstBytes(output, MAX_LOG_BYTES);
      await gate.pass(() => replaceFile(path, bytes));
      log.warning(`hook ${name}: ${reason}; its output is in ${path}`);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      log.warning(`hook ${name}: ${reason}; its output cannot be kept: ${why}`);
    }
    return { kind: 'failed', reason };
  }

  return {
    run,
    isEnabled: (name) => !disabled.has(name),
    setEnabled(name, enabled) {
      if (enabled) disabled.delete(name);
      else disabled.add(name);
    },
  };
}

/** A hook that is there but may not be looked at is none that is missing: starting it will tell. */
async function exists(path: string): Promise<boolean> {
  try {
    await fs.stat(path);
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    return errno !== ENOENT && errno !== ENOTDIR;
  }
}

async function outcomeOf(job: Job, signal: AbortSignal | undefined): Promise<JobOutcome> {
  const kill = (): void => void job.kill();
  if (signal?.aborted) kill();
  signal?.addEventListener('abort', kill, { once: true });
  try {
    return await job.finished;
  } finally {
    signal?.removeEventListener('abort', kill);
  }
}

function failureReason(outcome: JobOutcome, timeLimitMs: number): string | null {
  switch (outcome.kind) {
    case 'success':
      return null;
    case 'failed':
      return `exit status ${outcome.exitCode}`;
    case 'killed':
      return `killed by signal ${outcome.signal}`;
    case 'timed-out':
      return `timed out after ${timeLimitMs / 1000} s`;
    case 'lost':
      return 'it was lost';
  }
}

async function firstBytes(output: JobOutput, limitBytes: number): Promise<Buffer> {
  const bytes = Buffer.alloc(Math.min(output.sizeBytes, limitBytes));
  let at = 0;
  while (at < bytes.length) {
    const got = await output.read(bytes, at, bytes.length, at);
    if (got === 0) break;
    at += got;
  }
  return bytes.subarray(0, at);
}

/** A new file in the old one's place: a host may put anything into the files directory, also a link. */
async function replaceFile(path: string, bytes: Buffer): Promise<void> {
  const temporary = `${path}.new`;
  await fs.rm(temporary, { force: true });
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  await fs.writeFile(temporary, bytes, { flag: flags, mode: 0o644 });
  await fs.rename(temporary, path);
}
