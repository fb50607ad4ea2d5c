/**
 * guest-exec and guest-exec-status (spec qemu-ga.md section 6). In the `chr` profile a host runs scripts, as the appliance's
 * documentation says: path or input-data, exit codes 0, 1 (time-out) and -1 (error). In `upstream` it starts any program, as with
 * qemu-ga.
 */
import { type Job, type JobOutcome, type JobOutput, JobStartError } from '../../../scripts/job.ts';
import type { Capture, ProgramExit, RunningProgram } from '../../../scripts/program.ts';
import { decodeBase64 } from '../base64.ts';
import { QapiError } from '../errors.ts';
import type { Base64Data, ReplyValue } from '../json/writer.ts';
import { command } from '../registry.ts';
import {
  type Arguments,
  alternate,
  base64,
  bool,
  int,
  list,
  optional,
  required,
  str,
  word,
} from '../schema.ts';
import type { QgaContext } from './context.ts';

const ORIGIN = 'qemu-ga';

const execArgs = {
  path: optional(str, 'the script or program; `chr`: relative to the files directory'),
  arg: optional(list(str), 'arguments; not used in `chr`'),
  env: optional(list(str), 'the environment, NAME=value; not used in `chr`'),
  'input-data': optional(base64, '`chr`: the script, when there is no path; `upstream`: standard input'),
  'capture-output': optional(
    alternate<boolean | Capture>('GuestExecCaptureOutput', {
      string: word('none', 'stdout', 'stderr', 'separated', 'merged'),
      boolean: bool,
    }),
    'whether the output is kept for guest-exec-status; `chr`: always merged',
  ),
};
type ExecArguments = Arguments<typeof execArgs>;

export const execCommands = [
  command({
    name: 'guest-exec',
    since: '2.5',
    doc: 'Starts a script (`chr`) or a program (`upstream`).',
    args: execArgs,
    returns: '{pid}',
    run: async (args, context: QgaContext) => {
      const start = context.compat === 'chr' ? startScript : startProgram;
      return { pid: BigInt(await start(args, context)) };
    },
  }),
  command({
    name: 'guest-exec-status',
    since: '2.5',
    frequent: true,
    doc: 'What became of it. Once it says `exited`, the agent forgets it.',
    args: { pid: required(int, 'pid that guest-exec returned') },
    returns: '{exited, exitcode?, signal?, out-data?, err-data?, out-truncated?, err-truncated?}',
    run: ({ pid }, context: QgaContext) => {
      const program = context.programs.get(Number(pid));
      if (program !== undefined) return programStatus(program, context);
      const job = context.jobs.get(Number(pid));
      // VIX and xenstore jobs are none of this host interface's business
      if (job === undefined || job.origin !== ORIGIN) throw new QapiError(`PID ${pid} does not exist`);
      return jobStatus(job, context);
    },
  }),
];

async function startScript(
  args: ExecArguments,
  { jobs, log, native, scriptTimeLimitMs }: QgaContext,
): Promise<number> {
  const { path, 'input-data': input, 'capture-output': capture } = args;
  if (args.arg !== undefined || args.env !== undefined)
    log.info('qemu-ga: guest-exec: arg and env are not used');
  if (path !== undefined && input !== undefined)
    log.info('qemu-ga: guest-exec: input-data is not used beside path');
  const captureOutput = capture !== undefined && capture !== false && capture !== 'none';
  const source =
    path !== undefined
      ? { kind: 'file' as const, path }
      : { kind: 'text' as const, text: Buffer.from(await decodeBase64(requireInput(input), native)) };
  const request = { origin: ORIGIN, source, timeLimitMs: scriptTimeLimitMs, captureOutput };
  const job = await jobs.start(request).catch((error: unknown) => {
    throw startFailure(error, path ?? 'script');
  });
  return job.pid;
}

function requireInput<T>(input: T | undefined): T {
  if (input === undefined) throw new QapiError("Parameter 'path' is missing");
  return input;
}

async function startProgram(
  args: ExecArguments,
  { startProgram: start, programs, native }: QgaContext,
): Promise<number> {
  const { path, 'input-data': input, 'capture-output': capture = false } = args;
  if (path === undefined) throw new QapiError("Parameter 'path' is missing");
  const program = await start({
    path,
    args: args.arg ?? [],
    env: args.env,
    input: input === undefined ? undefined : Buffer.from(await decodeBase64(input, native)),
    capture: captureOf(capture),
  }).catch((error: unknown) => {
    throw startFailure(error, path);
  });
  programs.set(program.pid, program);
  return program.pid;
}

function captureOf(capture: boolean | Capture): Capture {
  if (typeof capture !== 'boolean') return capture;
  return capture ? 'separated' : 'none';
}

function startFailure(error: unknown, path: string): unknown {
  if (!(error instanceof JobStartError)) return error;
  return new QapiError(`Failed to execute child process \u201c${path}\u201d (${error.message})`);
}

function jobStatus(job: Job, { jobs }: QgaContext): ReplyValue {
  const { status, output } = job;
  if (status.state === 'running') return { exited: false };
  const forget = () => jobs.forget(job);
  const hasOutput = output.sizeBytes > 0;
  if (!hasOutput) forget();
  return {
    exited: true,
    exitcode: exitCode(status.outcome),
    'out-data': hasOutput ? outputData(output, forget) : undefined,
    'out-truncated': hasOutput ? output.truncated : undefined,
  };
}

/** The documented exit codes of scripts. */
export function exitCode(outcome: JobOutcome): bigint {
  switch (outcome.kind) {
    case 'success':
      return 0n;
    case 'timed-out':
      return 1n;
    case 'failed':
    case 'killed':
    case 'lost':
      return -1n;
  }
}

function programStatus(program: RunningProgram, { programs }: QgaContext): ReplyValue {
  const exit = program.exit();
  if (exit === undefined) return { exited: false };
  programs.delete(program.pid);
  const streams = [exit.stdout, exit.stderr].filter((output) => output !== undefined && output.sizeBytes > 0);
  let open = streams.length;
  if (open === 0) program.release();
  const streamRead = () => {
    open -= 1;
    if (open === 0) program.release();
  };
  return {
    exited: true,
    exitcode: exit.signal === 0 ? exit.exitCode : undefined,
    signal: exit.signal === 0 ? undefined : exit.signal,
    ...streamReply('out', exit.stdout, streamRead),
    ...streamReply('err', exit.stderr, streamRead),
  };
}

function streamReply(name: 'out' | 'err', output: ProgramExit['stdout'], onRead: () => void) {
  if (output === undefined || output.sizeBytes === 0) return {};
  return { [`${name}-data`]: outputData(output, onRead), [`${name}-truncated`]: output.truncated };
}

/** Streams an output into the reply; `onEnd` is called once, when all of it has been read. */
function outputData(output: JobOutput, onEnd: () => void): Base64Data {
  let position = 0;
  let hasEnded = false;
  return {
    kind: 'base64-data',
    async read(target, start, end) {
      let at = start;
      while (at < end && !hasEnded) {
        const count = await output.read(target, at, end, position);
        position += count;
        at += count;
        hasEnded = count === 0;
        if (hasEnded) onEnd();
      }
      return at - start;
    },
  };
}
