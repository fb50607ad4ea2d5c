/**
 * The administrator's hook scripts: `freeze`, `freeze-fail`, `thaw`, and those of power operations, each a file of that
 * name in one directory (design.md "Script semantics"). A missing one is fine. What a failed one printed is kept as
 * `NAME-script.log` in the files directory, where the host can fetch it.
 */
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { Log } from '../log.ts';
import { errnoOf } from './files.ts';
import type { HookName } from './hook-settings.ts';
import { type Job, type JobOutcome, type JobOutput, JobStartError, type Jobs } from './job.ts';
import { keepOutput, replaceFile } from './kept-output.ts';

export type { HookName } from './hook-settings.ts';

export type HookResult =
  /** There is none, or it is switched off. */
  | { kind: 'absent' }
  | { kind: 'success' }
  /** `reason`: `timed out after 60 s`, `exit status 3` … */
  | { kind: 'failed'; reason: string };

export type HookStart =
  | Exclude<HookResult, { kind: 'success' }>
  | { kind: 'running'; ended: Promise<HookResult> };

export interface HookRun {
  timeLimitMs: number;
  /** Ends the script and all that it started. */
  signal?: AbortSignal;
}

/** Nothing of it rejects. While file systems are frozen all of it waits for the thaw. */
export interface Hooks {
  /** Runs one to its end. */
  run(name: HookName, options: HookRun): Promise<HookResult>;
  /** Resolves when it runs. */
  start(name: HookName, options: HookRun): Promise<HookStart>;
  /** Whether there is one that is switched on. */
  isThere(name: HookName): Promise<boolean>;
}

export interface HooksOptions {
  jobs: Pick<Jobs, 'start' | 'forget'>;
  gate: FreezeGate;
  log: Log;
  hooksDir: string;
  filesDir: string;
  /** Default: all are. */
  isEnabled?: (name: HookName) => boolean;
}

const ORIGIN = 'hook';
const ENOENT = 2;
const ENOTDIR = 20;

export function createHooks(options: HooksOptions): Hooks {
  const { jobs, gate, log, hooksDir, filesDir, isEnabled = () => true } = options;
  const pathOf = (name: HookName) => join(hooksDir, name);

  async function isThere(name: HookName): Promise<boolean> {
    return isEnabled(name) && (await gate.pass(() => exists(pathOf(name))));
  }

  async function start(name: HookName, { timeLimitMs, signal }: HookRun): Promise<HookStart> {
    if (!(await isThere(name))) return { kind: 'absent' };
    try {
      const job = await jobs.start({
        origin: ORIGIN,
        source: { kind: 'file', path: pathOf(name) },
        timeLimitMs,
        captureOutput: true,
      });
      return { kind: 'running', ended: resultOf(name, job, timeLimitMs, signal) };
    } catch (error) {
      if (!(error instanceof JobStartError)) throw error;
      return failed(name, `it cannot be started: ${error.message}`, null);
    }
  }

  async function resultOf(
    name: HookName,
    job: Job,
    timeLimitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<HookResult> {
    const reason = failureReason(await outcomeOf(job, signal), timeLimitMs);
    const result = reason === null ? { kind: 'success' as const } : await failed(name, reason, job.output);
    jobs.forget(job);
    return result;
  }

  async function failed(
    name: HookName,
    reason: string,
    output: JobOutput | null,
  ): Promise<{ kind: 'failed'; reason: string }> {
    const path = join(filesDir, `${name}-script.log`);
    try {
      await gate.pass(() =>
        output === null ? replaceFile(path, Buffer.from(`${reason}\n`)) : keepOutput(path, output),
      );
      log.warning(`hook ${name}: ${reason}; its output is in ${path}`);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      log.warning(`hook ${name}: ${reason}; its output cannot be kept: ${why}`);
    }
    return { kind: 'failed', reason };
  }

  return {
    async run(name, run) {
      const started = await start(name, run);
      return started.kind === 'running' ? started.ended : started;
    },
    start,
    isThere,
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
