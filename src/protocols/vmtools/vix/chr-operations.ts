/**
 * Guest operations of the `chr` profile: not programs but scripts, `inline` or from a file, as the appliance's documentation says
 * (spec chr-wiki.txt, provisioning; design.md "Script semantics").
 */
import { promises as fs } from 'node:fs';
import type { Login } from '../../../guest/authentication.ts';
import type { FreezeGate } from '../../../guest/freeze-gate.ts';
import { type JobSource, JobStartError } from '../../../scripts/job.ts';
import type { ApiJob, ApiJobs } from './api-jobs.ts';
import * as bodies from './bodies.ts';
import { failureOfErrno, VIX, VixFailure } from './errors.ts';
import { REQUEST_ESCAPE_XML } from './header.ts';
import { OPCODE } from './opcodes.ts';
import { loginOnly, type Operations, type VixCall } from './operations.ts';
import type { ResultPieces } from './pieces.ts';
import { type ListedProcess, oldProcessEntry, processEntry } from './results.ts';
import type { RunReport } from './run-report.ts';

export interface ChrOperationsOptions {
  readonly jobs: ApiJobs;
  readonly pieces: ResultPieces;
  readonly report: RunReport;
  readonly gate: FreezeGate;
}

const INLINE = 'inline';

export function chrOperations({ jobs, pieces, report, gate }: ChrOperationsOptions): Operations {
  async function start(name: string, source: JobSource, login: Login): Promise<ApiJob> {
    // what waits for a thaw would hold up the command that thaws
    if (gate.frozen) throw new VixFailure(VIX.OBJECT_IS_BUSY);
    try {
      return await jobs.start(name, source, login);
    } catch (error) {
      if (error instanceof JobStartError) throw failureOfErrno(error.errno, VIX.PROGRAM_NOT_STARTED);
      throw error;
    }
  }

  function reportEnd({ requestId }: VixCall, options: number, job: ApiJob): void {
    const ended = job.ended.then(() => job.end?.exitCode ?? -1);
    report({ requestId, options, pid: job.id, ended });
  }

  return {
    async [OPCODE.START_PROGRAM](call) {
      const { path, args } = bodies.startProgram(call.request);
      if (path === '') throw new VixFailure(VIX.INVALID_ARG);
      const login = await call.login();
      return String((await start(path, sourceOf(path, args), login)).id);
    },
    async [OPCODE.RUN_PROGRAM](call) {
      const { options, path, args } = bodies.runProgram(call.request);
      const login = await call.login();
      const job = await start(path, sourceOf(path, args), login);
      reportEnd(call, options, job);
      return String(job.id);
    },
    async [OPCODE.RUN_SCRIPT](call) {
      const { options, interpreter, script } = bodies.runScript(call.request);
      const login = await call.login();
      const text = await scriptText(interpreter, script, gate);
      const job = await start(INLINE, { kind: 'text', text }, login);
      reportEnd(call, options, job);
      return String(job.id);
    },
    async [OPCODE.LIST_PROCESSES_EX](call) {
      const { key, offset, pids } = bodies.listProcesses(call.request);
      const { name } = await call.login();
      if (key !== 0) return pieces.next(key, name, offset);
      const listed = pids.length === 0 ? jobs.list() : jobs.take(pids);
      return pieces.first(name, listed.map((job) => processEntry(processOf(job))).join(''));
    },
    async [OPCODE.LIST_PROCESSES](call) {
      await call.login();
      const isEscaped = (call.request.requestFlags & REQUEST_ESCAPE_XML) !== 0;
      const entries = jobs.list().map((job) => oldProcessEntry(processOf(job), isEscaped));
      return (isEscaped ? '<escaped/>' : '') + entries.join('');
    },
    [OPCODE.CHECK_USER_ACCOUNT]: loginOnly,
    [OPCODE.LOGOUT]: loginOnly,
    [OPCODE.VALIDATE_CREDENTIALS]: loginOnly,
  };
}

/** @throws {VixFailure} 3 for what is no way to run a script */
function sourceOf(path: string, args: string): JobSource {
  switch (path) {
    case INLINE:
    case 'console':
      return { kind: 'text', text: Buffer.from(args) };
    case 'import':
      return { kind: 'file', path: args };
    default:
      throw new VixFailure(VIX.INVALID_ARG);
  }
}

/** The text, for the interpreter of all scripts or for the host's own choice. @throws {VixFailure} as a `#!` line would fail */
async function scriptText(interpreter: string, script: string, gate: FreezeGate): Promise<Buffer> {
  if (interpreter === '' || interpreter === INLINE || interpreter === 'console') return Buffer.from(script);
  if (!interpreter.startsWith('/') || /\s/.test(interpreter)) throw new VixFailure(VIX.INVALID_ARG);
  if (gate.frozen) throw new VixFailure(VIX.OBJECT_IS_BUSY);
  const mode = await gate.pass(() =>
    fs.stat(interpreter).then(
      (stat) => (stat.isFile() ? stat.mode : 0),
      () => null,
    ),
  );
  if (mode === null) throw new VixFailure(VIX.FILE_NOT_FOUND);
  if ((mode & 0o111) === 0) throw new VixFailure(VIX.GUEST_USER_PERMISSIONS);
  return Buffer.from(`#!${interpreter}\n${script}`);
}

function processOf({ id, name, user, startedAtMs, end }: ApiJob): ListedProcess {
  return {
    command: name,
    name,
    pid: id,
    user,
    startSeconds: Math.floor(startedAtMs / 1000),
    end: end && { exitCode: end.exitCode, atSeconds: Math.floor(end.atMs / 1000) },
  };
}
