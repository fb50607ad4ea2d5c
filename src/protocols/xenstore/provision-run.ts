/** One run of a provisioned script, from its text to what the host is told. */
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import type { FreezeGate } from '../../guest/freeze-gate.ts';
import type { Log } from '../../log.ts';
import type { Job, JobOutcome, JobOutput, Jobs } from '../../scripts/job.ts';
import { MOST_VALUE_BYTES, rawBytes } from './script-text.ts';

export interface ScriptResult {
  status: 'ready' | 'error';
  /** The output, or the beginning of a long one. */
  head: Buffer;
  isWhole: boolean;
  /** What is said at the end of an output that is cut. */
  marker: string;
}

export interface ScriptRunOptions {
  scripts: Jobs;
  gate: FreezeGate;
  log: Log;
  timeLimitMs: number;
  /** Where output that does not fit in the store is saved whole. */
  filesDir: string;
}

/** In the files directory; of the last script whose output was too long. */
export const OUTPUT_FILE = 'provision-output.txt';

const COPY_BYTES = 64 * 1024;

/** Never rejects. */
export async function runScript(text: Buffer, options: ScriptRunOptions): Promise<ScriptResult> {
  const { scripts, log, timeLimitMs } = options;
  let job: Job;
  try {
    job = await scripts.start({
      origin: 'xenstore',
      source: { kind: 'text', text },
      timeLimitMs,
      captureOutput: true,
    });
  } catch (error) {
    const problem = `the script cannot be started: ${error instanceof Error ? error.message : String(error)}`;
    log.warning(`${problem}`);
    return { status: 'error', head: Buffer.from(`chr-agent: ${problem}\n`), isWhole: true, marker: '' };
  }
  log.info(`a script runs (pid ${job.pid}, ${text.length} bytes)`);
  const outcome = await job.finished;
  log.info(`the script (pid ${job.pid}) ${describe(outcome, timeLimitMs)}`);
  const status = outcome.kind === 'success' ? 'ready' : 'error';
  try {
    return { status, ...(await collect(job.output, options)) };
  } catch (error) {
    const problem = `its output cannot be read: ${String(error)}`;
    log.warning(`${problem}`);
    return { status, head: Buffer.from(`chr-agent: ${problem}\n`), isWhole: true, marker: '' };
  } finally {
    scripts.forget(job);
  }
}

async function collect(output: JobOutput, options: ScriptRunOptions): Promise<Omit<ScriptResult, 'status'>> {
  const head = Buffer.alloc(Math.min(output.sizeBytes, rawBytes(MOST_VALUE_BYTES)));
  await readInto(output, head);
  if (output.sizeBytes === head.length && !output.truncated)
    return { head, isWhole: true, marker: '\n[cut]\n' };
  return { head, isWhole: false, marker: `\n[cut: ${await saveWhole(output, options)}]\n` };
}

/** @returns what to say of it */
async function saveWhole(output: JobOutput, { gate, log, filesDir }: ScriptRunOptions): Promise<string> {
  const path = join(filesDir, OUTPUT_FILE);
  const size = `${output.truncated ? 'more than ' : ''}${output.sizeBytes} bytes`;
  try {
    // a freeze does not wait while a long output is copied: each piece passes by itself
    const file = await gate.pass(() => fs.open(`${path}.new`, 'w', 0o600));
    try {
      const piece = Buffer.alloc(Math.min(COPY_BYTES, output.sizeBytes));
      for (let position = 0; position < output.sizeBytes; ) {
        const count = await output.read(piece, 0, piece.length, position);
        if (count === 0) break;
        await gate.pass(() => file.writeFile(piece.subarray(0, count)));
        position += count;
      }
    } finally {
      await gate.pass(() => file.close());
    }
    await gate.pass(() => fs.rename(`${path}.new`, path));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    log.warning(`the script's long output is lost: ${why}`);
    return `${size}, which could not be saved`;
  }
  return `${size}, all in ${path}`;
}

async function readInto(output: JobOutput, target: Buffer): Promise<void> {
  for (let at = 0; at < target.length; ) {
    const count = await output.read(target, at, target.length, at);
    if (count === 0) throw new Error('it ends early');
    at += count;
  }
}

function describe(outcome: JobOutcome, timeLimitMs: number): string {
  switch (outcome.kind) {
    case 'success':
      return 'has ended well';
    case 'failed':
      return `has failed with exit status ${outcome.exitCode}`;
    case 'killed':
      return `was killed by signal ${outcome.signal}`;
    case 'timed-out':
      return `was ended after its ${timeLimitMs / 1000} s`;
    case 'lost':
      return 'is lost';
  }
}
