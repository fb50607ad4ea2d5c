/** A script engine in a directory of its own, and what the tests of this folder ask about processes. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFreezeGate, type FreezeGateControl } from '../../../src/guest/freeze-gate.ts';
import { helperPath, native } from '../../../src/native/index.ts';
import type { Job, JobOutput, JobStartError } from '../../../src/scripts/job.ts';
import { createJobs, type JobsOptions, type ScriptEngine } from '../../../src/scripts/jobs.ts';

const quiet = () => undefined;
export const quietLog = { error: quiet, warning: quiet, info: quiet, debug: quiet };

export interface TestEngine {
  engine: ScriptEngine;
  gate: FreezeGateControl;
  directory: string;
  filesDir: string;
  runtimeDir: string;
  /** Runs a text to its end. */
  run(text: string, timeLimitMs?: number): Promise<Job>;
  [Symbol.asyncDispose](): Promise<void>;
}

export function engineOptions(directory: string, gate = createFreezeGate()): JobsOptions {
  return {
    native,
    helperPath,
    log: quietLog,
    gate,
    interpreter: '/bin/sh',
    filesDir: join(directory, 'files'),
    runtimeDir: join(directory, 'run'),
    stateDir: join(directory, 'state'),
    spillDir: join(directory, 'spill'),
    graceMs: 200,
  };
}

/** In `directory`, or in a new one that goes with it. */
export async function openEngine(
  more: Partial<JobsOptions> = {},
  directory = mkdtempSync(join(tmpdir(), 'chr-agent-scripts-')),
): Promise<TestEngine> {
  const gate = createFreezeGate();
  const options = { ...engineOptions(directory, gate), ...more };
  const engine = createJobs(options);
  return {
    engine,
    gate,
    directory,
    filesDir: options.filesDir,
    runtimeDir: options.runtimeDir,
    async run(text, timeLimitMs = 20_000) {
      const job = await engine.start(textRequest(text, timeLimitMs));
      await job.finished;
      return job;
    },
    async [Symbol.asyncDispose]() {
      await engine.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export const textRequest = (text: string, timeLimitMs = 20_000) => ({
  origin: 'test',
  source: { kind: 'text' as const, text: Buffer.from(text) },
  timeLimitMs,
  captureOutput: true,
});

export const fileRequest = (path: string, timeLimitMs = 20_000) => ({
  ...textRequest('', timeLimitMs),
  source: { kind: 'file' as const, path },
});

export async function bytesOf(output: JobOutput): Promise<Buffer> {
  const bytes = Buffer.alloc(output.sizeBytes);
  for (let at = 0; at < bytes.length; ) {
    const got = await output.read(bytes, at, bytes.length, at);
    if (got === 0) throw new Error('output ends early');
    at += got;
  }
  return bytes;
}

export const textOf = async (output: JobOutput): Promise<string> => (await bytesOf(output)).toString();

/** The errno with which a start is refused, 0 if it is not. */
export const refusal = (start: Promise<unknown>): Promise<number> =>
  start.then(
    () => 0,
    (error: JobStartError) => error.errno,
  );

export const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

/** Whether a process runs; a zombie does not, and must not be there either if `zombieCounts`. */
export function isAlive(pid: number, zombieCounts = true): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return zombieCounts || !stat.slice(stat.lastIndexOf(')')).startsWith(') Z');
  } catch {
    return false;
  }
}

/** Processes whose parent is this one. */
export function children(): number[] {
  const pids: number[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 4).split(' ', 1)[0]);
      if (parent === process.pid) pids.push(Number(name));
    } catch {
      // ended meanwhile
    }
  }
  return pids;
}

/** Waits until something holds; fails after ten seconds. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
