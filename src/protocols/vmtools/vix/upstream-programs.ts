/** Programs, processes and variables in the `upstream` profile, as open-vm-tools serves them (spec vmware.md sections 7.5 to 7.8). */
import { setTimeout as delay } from 'node:timers/promises';
import type { Login } from '../../../guest/authentication.ts';
import type { FreezeGate } from '../../../guest/freeze-gate.ts';
import { type Process, processes, processOf } from '../../../guest/processes.ts';
import type { UserFiles } from '../../../guest/user-files.ts';
import * as bodies from './bodies.ts';
import { failureOfErrno, VIX, VixFailure } from './errors.ts';
import { REQUEST_ESCAPE_XML } from './header.ts';
import { OPCODE } from './opcodes.ts';
import { loginOnly, type Operation, type Operations } from './operations.ts';
import type { ResultPieces } from './pieces.ts';
import { escapeValue, type ListedProcess, oldProcessEntry, processEntry } from './results.ts';
import type { RunReport } from './run-report.ts';
import { environmentOf, type UserProgram, type UserPrograms } from './user-programs.ts';

export interface UpstreamOptions {
  readonly programs: UserPrograms;
  readonly files: UserFiles;
  readonly pieces: ResultPieces;
  readonly report: RunReport;
  readonly gate: FreezeGate;
  /** Names of the accounts by uid. */
  readonly userNames: () => Promise<ReadonlyMap<number, string>>;
  /** Since 1970. */
  readonly bootTimeSeconds: () => number;
}

const EACCES = 13;
const ENOENT = 2;
/** Of /proc: USER_HZ. */
const TICKS_PER_SECOND = 100;
const ENVIRONMENT_VARIABLE = 3;
/** How long a program may take to its end before the host is answered, and before it is killed. */
const ANSWER_AFTER_MS = 2000;
const KILL_AFTER_MS = 5000;
const POLL_MS = 50;

export function upstreamPrograms(options: UpstreamOptions): Operations {
  const { programs, files, pieces, report, gate } = options;

  /** @throws {VixFailure} */
  async function start(
    login: Login,
    program: Pick<bodies.StartProgram, 'args' | 'directory' | 'environment'> & { readonly path: string },
  ): Promise<UserProgram> {
    const path = unquoted(program.path);
    if (gate.frozen) throw new VixFailure(VIX.OBJECT_IS_BUSY);
    await gate.pass(() => demandProgram(login, path, program.directory));
    if (gate.frozen) throw new VixFailure(VIX.OBJECT_IS_BUSY);
    return programs.start({ ...program, login, path });
  }

  async function demandProgram(login: Login, path: string, directory: string): Promise<void> {
    const result = await files(login, ['program', path, directory]);
    if (result.kind === 'done') return;
    if (result.isSecond) throw new VixFailure(VIX.NOT_A_DIRECTORY, result.errno);
    if (result.errno === EACCES) throw new VixFailure(VIX.GUEST_USER_PERMISSIONS, EACCES);
    throw result.errno === ENOENT ? failureOfErrno(ENOENT) : failureOfErrno(result.errno, VIX.FILE_NOT_FOUND);
  }

  async function running(): Promise<ListedProcess[]> {
    const names = await options.userNames();
    if (gate.frozen) throw new VixFailure(VIX.OBJECT_IS_BUSY);
    const bootedAt = options.bootTimeSeconds();
    return processes().map((process) => ofProcess(process, names, bootedAt));
  }

  async function everything(): Promise<ListedProcess[]> {
    const others = await running();
    const started = programs.list();
    const own = new Set<number | bigint>(started.map(({ pid }) => pid));
    return [...started.map(ofProgram), ...others.filter(({ pid }) => !own.has(pid))];
  }

  const runScript: Operation = async (call) => {
    const { options: flags, interpreter, script } = bodies.runScript(call.request);
    const login = await call.login();
    const path = await gate.pass(() => writeScript(files, login, script));
    try {
      const program = await start(login, {
        path: interpreter === '' ? '/bin/sh' : interpreter,
        args: ` "${path}"`,
        directory: '',
        environment: [],
      });
      report({ requestId: call.requestId, options: flags, pid: program.pid, ended: program.ended });
      void program.ended.then(() => gate.pass(() => files(login, ['delete-file', path])));
      return String(program.pid);
    } catch (error) {
      await gate.pass(() => files(login, ['delete-file', path]));
      throw error;
    }
  };

  const terminate: Operation = async (call) => {
    const pid = bodies.processId(call.request);
    await terminateProcess(await call.login(), Number(pid));
    return '';
  };

  return {
    async [OPCODE.START_PROGRAM](call) {
      const program = bodies.startProgram(call.request);
      if (program.path === '' || program.environment.some((entry) => !entry.includes('=')))
        throw new VixFailure(VIX.INVALID_ARG);
      return String((await start(await call.login(), program)).pid);
    },
    async [OPCODE.RUN_PROGRAM](call) {
      const { options: flags, path, args } = bodies.runProgram(call.request);
      if (path === '') throw new VixFailure(VIX.INVALID_ARG);
      const program = await start(await call.login(), { path, args, directory: '', environment: [] });
      report({ requestId: call.requestId, options: flags, pid: program.pid, ended: program.ended });
      return String(program.pid);
    },
    [OPCODE.RUN_SCRIPT]: runScript,
    async [OPCODE.LIST_PROCESSES_EX](call) {
      const { key, offset, pids } = bodies.listProcesses(call.request);
      const { name } = await call.login();
      if (key !== 0) return pieces.next(key, name, offset);
      const wanted = new Set(pids.map(Number));
      const listed = (await everything()).filter(({ pid }) => wanted.size === 0 || wanted.has(Number(pid)));
      return pieces.first(name, listed.map(processEntry).join(''));
    },
    async [OPCODE.LIST_PROCESSES](call) {
      await call.login();
      const isEscaped = (call.request.requestFlags & REQUEST_ESCAPE_XML) !== 0;
      const entries = (await running()).map((process) => oldProcessEntry(process, isEscaped));
      return (isEscaped ? '<escaped/>' : '') + entries.join('');
    },
    async [OPCODE.READ_ENVIRONMENT](call) {
      const names = bodies.variableNames(call.request);
      const login = await call.login();
      return environmentOf(login)
        .filter((entry) => names.length === 0 || names.includes(entry.slice(0, entry.indexOf('='))))
        .map((entry) => `<ev>${escapeValue(entry)}</ev>`)
        .join('');
    },
    async [OPCODE.READ_VARIABLE](call) {
      const { kind, name } = bodies.variable(call.request);
      if (kind !== ENVIRONMENT_VARIABLE) throw new VixFailure(VIX.INVALID_ARG);
      const login = await call.login();
      const entry = environmentOf(login).find((each) => each.startsWith(`${name}=`));
      return entry?.slice(name.length + 1) ?? '';
    },
    [OPCODE.TERMINATE_PROCESS]: terminate,
    [OPCODE.KILL_PROCESS]: terminate,
    [OPCODE.CHECK_USER_ACCOUNT]: loginOnly,
    [OPCODE.LOGOUT]: loginOnly,
    [OPCODE.VALIDATE_CREDENTIALS]: loginOnly,
  };
}

/** Without blanks at its start, and the quotes that a host puts around it. */
function unquoted(path: string): string {
  const start = path.trimStart();
  const quoted = /^"([^"]*)"/.exec(start);
  return quoted?.[1] ?? start;
}

/** @returns the path of a file that only the user can read. @throws {VixFailure} */
async function writeScript(files: UserFiles, login: Login, script: string): Promise<string> {
  const directory = await privateDirectory(files, login);
  const path = `${directory}/vixScript${process.hrtime.bigint()}`;
  const written = await files(login, ['write', path], Buffer.from(script));
  if (written.kind === 'failed') throw failureOfErrno(written.errno, VIX.FILE_ERROR);
  return path;
}

/** The user's own, for temporary files. @throws {VixFailure} */
export async function privateDirectory(files: UserFiles, login: Login): Promise<string> {
  const path = `/tmp/vmware-${login.name}_${process.pid}`;
  const made = await files(login, ['own-directory', path]);
  if (made.kind === 'failed') throw failureOfErrno(made.errno, VIX.FILE_ERROR);
  return path;
}

/**
 * SIGTERM, and after 5 s SIGKILL. The host is answered when the process is gone, or after 2 s, since nothing else of it is served
 * meanwhile.
 * @throws {VixFailure}
 */
async function terminateProcess(login: Login, pid: number): Promise<void> {
  const found = Number.isSafeInteger(pid) && pid > 0 ? processOf(pid) : null;
  if (found === null) throw new VixFailure(VIX.NO_SUCH_PROCESS);
  // as kill(2) would decide; root's agent may anything
  if (pid === process.pid || (login.uid !== 0 && login.uid !== found.uid))
    throw new VixFailure(VIX.GUEST_USER_PERMISSIONS, 1);
  signal(pid, 'SIGTERM');
  const isGone = (): boolean => processOf(pid)?.startTicks !== found.startTicks;
  for (let waitedMs = 0; waitedMs < ANSWER_AFTER_MS && !isGone(); waitedMs += POLL_MS) await delay(POLL_MS);
  if (isGone()) return;
  void delay(KILL_AFTER_MS - ANSWER_AFTER_MS, undefined, { ref: false }).then(() => {
    if (!isGone()) signal(pid, 'SIGKILL');
  });
}

function signal(pid: number, name: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(pid, name);
  } catch {
    // it is gone, which is what was wanted
  }
}

function ofProgram({ command, commandLine, pid, user, startedAtMs, end }: UserProgram): ListedProcess {
  return {
    command,
    name: commandLine,
    pid,
    user,
    startSeconds: Math.floor(startedAtMs / 1000),
    end: end && { exitCode: end.exitCode, atSeconds: Math.floor(end.atMs / 1000) },
  };
}

function ofProcess(
  { command, commandLine, pid, uid, startTicks }: Process,
  names: ReadonlyMap<number, string>,
  bootedAt: number,
): ListedProcess {
  return {
    command,
    name: commandLine,
    pid,
    user: names.get(uid) ?? String(uid),
    startSeconds: bootedAt + Math.floor(startTicks / TICKS_PER_SECOND),
    end: null,
  };
}
