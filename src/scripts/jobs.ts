/**
 * The script engine: the table of jobs, from the request to what became of it (design.md ideas 3 and 6). This is the
 * composition of the folder; a protocol sees {@link Jobs} and {@link ScriptEngine.startProgram} only.
 */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { Log } from '../log.ts';
import { monotonicMs } from '../native/monotonic.ts';
import { errnoOf, inspectScript } from './files.ts';
import { commandForFile, commandForText } from './interpreter.ts';
import type { Job, JobAccount, JobRequest, Jobs } from './job.ts';
import { JobStartError } from './job.ts';
import { openJournal } from './journal.ts';
import { createOutputArea, DEFAULT_OUTPUT_LIMITS, type OutputLimits } from './output.ts';
import {
  createProgramStarter,
  type ProgramNative,
  type ProgramOptions,
  type RunningProgram,
} from './program.ts';
import { openScriptTexts } from './script-text.ts';
import { type Script, type SupervisorNative, startScript } from './supervisor.ts';
import { describe, outcomeOf, recoveredJob, TableJob } from './table-job.ts';
import { uniqueName } from './unique-name.ts';

export interface JobsOptions {
  native: SupervisorNative & ProgramNative;
  /** The program of native/helper. */
  helperPath: string;
  log: Log;
  gate: FreezeGate;
  /** Absolute path of what runs scripts without a usable `#!` line. */
  interpreter: string;
  /** Root of relative script paths, and every script's working directory; made if it is missing. */
  filesDir: string;
  /** For script texts: on a file system in memory. Owned by this daemon; made if it is missing. */
  runtimeDir: string;
  /** For the journal; made if it is missing. */
  stateDir: string;
  /** For output that is too long for memory; made if it is missing. */
  spillDir: string;
  /** A writable cgroup2 directory (findOwnCgroup), or null. */
  cgroup?: string | null;
  /** Between SIGTERM and SIGKILL when a script is ended. */
  graceMs?: number;
  limits?: Partial<OutputLimits>;
  /** Finished jobs that are kept; beyond that the one that finished first is dropped. */
  maxFinished?: number;
  nowMs?: () => number;
}

export interface ScriptEngine extends Jobs {
  /**
   * Starts any program as qemu-ga does: no time limit, and it outlives the daemon.
   * @throws {JobStartError} if it cannot be executed.
   */
  startProgram(options: ProgramOptions): Promise<RunningProgram>;
  /** Memory and file bytes that captured output takes, for status. */
  readonly usage: { memoryBytes: number; spilledBytes: number };
  /** Ends all scripts, leaves programs alone, and closes everything. */
  close(): Promise<void>;
}

const DEFAULT_GRACE_MS = 2000;
const DEFAULT_MAX_FINISHED = 1000;
/** How long SIGKILL may take before the agent stops without waiting for it; the helper goes on. */
const KILL_LIMIT_MS = 3000;

const ECANCELED = 125;
const ENOEXEC = 8;
const EIO = 5;

/** What a script's environment has besides `CHR_AGENT_…`. */
const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const LANG = 'LANG=C.UTF-8';

export function createJobs(options: JobsOptions): ScriptEngine {
  const { native, helperPath, log, gate, interpreter, filesDir, spillDir } = options;
  const {
    cgroup = null,
    graceMs = DEFAULT_GRACE_MS,
    maxFinished = DEFAULT_MAX_FINISHED,
    nowMs = Date.now,
  } = options;
  mkdirSync(filesDir, { recursive: true, mode: 0o755 });
  mkdirSync(spillDir, { recursive: true, mode: 0o700 });
  const texts = openScriptTexts(options.runtimeDir);
  const journal = openJournal({
    directory: options.stateDir,
    gate,
    log,
    nowMs,
    maxRecovered: maxFinished,
  });
  const outputs = createOutputArea({
    limits: { ...DEFAULT_OUTPUT_LIMITS, ...options.limits },
    spillDir,
    gate,
    log,
  });
  const devNull = openSync('/dev/null', 'r+');
  const takeTurn = createTurns();
  const programs = createProgramStarter({ native, outputs, devNull, takeTurn });

  const table = new Map<number, TableJob>();
  /** In the order in which they finished. */
  const finished = new Set<TableJob>();
  const starting = new Set<Promise<unknown>>();
  /** Helpers and clean-ups that are not through yet. */
  const leftovers = new Set<Promise<unknown>>();
  let draining = false;

  for (const known of journal.recovered) {
    const job = recoveredJob(known);
    table.set(job.pid, job);
    keepFinished(job);
  }

  function startError(errno: number): JobStartError {
    return new JobStartError(errno, native.errorText(errno));
  }

  /** Remembers a promise until it settles. */
  function track<T>(set: Set<Promise<unknown>>, promise: Promise<T>): Promise<T> {
    const settled: Promise<unknown> = promise.then(
      () => set.delete(settled),
      () => set.delete(settled),
    );
    set.add(settled);
    return promise;
  }

  function keepFinished(job: TableJob): void {
    finished.add(job);
    for (const oldest of finished) {
      if (finished.size <= maxFinished) break;
      drop(oldest);
    }
  }

  function drop(job: TableJob): void {
    if (!finished.delete(job)) return;
    if (table.get(job.pid) === job) table.delete(job.pid);
    job.release();
    journal.forgotten(job.id);
  }

  /** The command of a request, and what to do when its job has ended. */
  async function prepare({ source, account }: JobRequest): Promise<{ argv: string[]; cleanUp: () => void }> {
    try {
      if (source.kind === 'file') {
        const { path, head, executable } = await inspectScript(filesDir, source.path);
        return { argv: commandForFile(path, head, executable, interpreter), cleanUp: () => undefined };
      }
      const path = await texts.write(source.text, account);
      const remove = (): void => {
        // the directory should be in memory, but if it is not, frozen means frozen
        track(
          leftovers,
          gate.pass(() => texts.remove(path)),
        );
      };
      const argv = commandForText(path, source.text, interpreter);
      if (argv !== null) return { argv, cleanUp: remove };
      remove();
    } catch (error) {
      throw startError(errnoOf(error) ?? EIO);
    }
    throw startError(ENOEXEC);
  }

  async function start(request: JobRequest): Promise<Job> {
    if (draining) throw startError(ECANCELED);
    const { argv, cleanUp } = await gate.pass(() => prepare(request));
    const id = uniqueName();
    const output = request.captureOutput ? outputs.create() : null;
    let script: Script;
    const startedAtMs = nowMs();
    try {
      await takeTurn();
      if (draining) throw startError(ECANCELED);
      script = await startScript(native, helperPath, devNull, {
        argv,
        env: [...environmentOf(request.account), `CHR_AGENT_ORIGIN=${request.origin}`, `CHR_AGENT_JOB=${id}`],
        cwd: filesDir,
        timeLimitMs: request.timeLimitMs,
        graceMs,
        cgroup,
        account: request.account ?? null,
        output,
      });
    } catch (error) {
      output?.release();
      cleanUp();
      throw error instanceof JobStartError ? error : startError(errnoOf(error) ?? EIO);
    }
    track(leftovers, script.gone);
    const { origin, note } = request;
    const known = { id, pid: script.pid, origin, startedAtMs, ...(note !== undefined && { note }) };
    const job = new TableJob(known, script, output);
    // a finished job of the same number is out of reach for its host from here on
    const previous = table.get(job.pid);
    if (previous !== undefined) drop(previous);
    table.set(job.pid, job);
    track(
      leftovers,
      script.ended.then((end) => {
        const outcome = outcomeOf(end);
        job.settle(outcome, nowMs());
        keepFinished(job);
        journal.ended(id, outcome, nowMs());
        cleanUp();
        log.debug(`job ${id} of ${job.origin} (pid ${job.pid}): ${describe(outcome)}`);
      }),
    );
    await journal.started(known);
    return job;
  }

  const running = (): TableJob[] => [...table.values()].filter((job) => job.status.state === 'running');

  async function drain(limitMs: number): Promise<void> {
    draining = true;
    const deadlineMs = monotonicMs() + limitMs;
    // a start may wait for the thaw
    await settledWithin([...starting], limitMs);
    const leftMs = Math.max(0, deadlineMs - monotonicMs());
    const ended = running().map((job) => job.finished);
    if (await settledWithin(ended, leftMs)) return;
    const killed = running().map((job) => job.kill());
    log.warning(`${killed.length} scripts are ended, since the agent stops`);
    if (await settledWithin(killed, graceMs + KILL_LIMIT_MS)) return;
    log.error('a script cannot be ended: its processes hang in the kernel');
  }

  return {
    start: (request) => track(starting, start(request)),
    get: (pid) => table.get(pid),
    releaseOutput(job) {
      if (job instanceof TableJob && job.status.state === 'finished') job.release();
    },
    forget(job) {
      if (job instanceof TableJob) drop(job);
    },
    list: () => [...table.values()],
    drain,
    startProgram: async (request) => {
      if (draining) throw startError(ECANCELED);
      return programs.start(request);
    },
    get usage() {
      return { memoryBytes: outputs.memoryBytes, spilledBytes: outputs.spilledBytes };
    },
    async close() {
      await drain(0);
      programs.close();
      await settledWithin([...leftovers], KILL_LIMIT_MS);
      for (const job of table.values()) job.release();
      await journal.close();
      closeSync(devNull);
    },
  };
}

function environmentOf(account: JobAccount | undefined): string[] {
  if (account === undefined) return [PATH, 'HOME=/root', LANG];
  const { home, name } = account;
  return [PATH, `HOME=${home}`, `USER=${name}`, `LOGNAME=${name}`, LANG];
}

/**
 * Starting a process holds up the event loop for a fraction of a millisecond: when many start at once, each waits for its
 * turn of the loop, so that other events get through between them.
 */
function createTurns(): () => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  return () => {
    last = last.then(() => new Promise((resolve) => setImmediate(resolve)));
    return last;
  };
}

async function settledWithin(promises: Promise<unknown>[], limitMs: number): Promise<boolean> {
  if (promises.length === 0) return true;
  const expired = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => expired.resolve(false), limitMs);
  try {
    return await Promise.race([Promise.allSettled(promises).then(() => true), expired.promise]);
  } finally {
    clearTimeout(timer);
  }
}
