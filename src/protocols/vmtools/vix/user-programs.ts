/**
 * Programs that a host starts in the `upstream` profile: any, by a shell, as the user, without a limit; they outlive the agent. Ended
 * ones stay in the list for five minutes (spec vmware.md section 7.5).
 */
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import type { Login } from '../../../guest/authentication.ts';
import { JobStartError } from '../../../scripts/job.ts';
import type { ScriptEngine } from '../../../scripts/jobs.ts';
import { accountArgument } from '../../../scripts/supervisor.ts';
import type { SetTimer } from '../timer.ts';
import { failureOfErrno, VIX } from './errors.ts';

export interface UserProgram {
  readonly pid: number;
  /** Base name of its path. */
  readonly command: string;
  readonly commandLine: string;
  readonly user: string;
  readonly startedAtMs: number;
  readonly end: { readonly exitCode: number; readonly atMs: number } | null;
  /** Resolves at the end with the exit code, 0 for one that a signal ended. Never rejects. */
  readonly ended: Promise<number>;
}

export interface UserPrograms {
  /**
   * Runs `"path" args` by a shell. Not while frozen.
   * @param environment none: the agent's own, with the user's USER, HOME and SHELL
   * @throws {VixFailure}
   */
  start(program: {
    readonly login: Login;
    readonly path: string;
    readonly args: string;
    readonly directory: string;
    readonly environment: readonly string[];
  }): Promise<UserProgram>;
  list(): readonly UserProgram[];
  stop(): void;
}

export interface UserProgramsOptions {
  readonly programs: Pick<ScriptEngine, 'startProgram'>;
  readonly helperPath: string;
  readonly setTimer: SetTimer;
  readonly nowMs?: () => number;
}

const KEPT_MS = 5 * 60_000;
const SHELLS = ['/bin/bash', '/usr/bin/bash', '/bin/sh'];

export function createUserPrograms(options: UserProgramsOptions): UserPrograms {
  const { programs, helperPath, setTimer, nowMs = Date.now } = options;
  const started: UserProgram[] = [];
  const timers = new Set<() => void>();

  function forgetLater(program: UserProgram): void {
    const cancel = setTimer(() => {
      timers.delete(cancel);
      started.splice(started.indexOf(program), 1);
    }, KEPT_MS);
    timers.add(cancel);
  }

  return {
    async start({ login, path, args, directory, environment }) {
      const commandLine = args === '' ? `"${path}"` : `"${path}" ${args}`;
      const shell = SHELLS.find((candidate) => existsSync(candidate)) ?? '/bin/sh';
      const account = [
        'account',
        '--account',
        accountArgument(login),
        '--directory',
        directory || login.home,
      ];
      try {
        const running = await programs.startProgram({
          path: helperPath,
          args: [...account, '--', shell, '-c', commandLine],
          env: environment.length > 0 ? [...environment] : environmentOf(login),
          input: undefined,
          capture: 'none',
        });
        const { promise, resolve } = Promise.withResolvers<number>();
        const program = {
          pid: running.pid,
          command: basename(path),
          commandLine,
          user: login.name,
          startedAtMs: nowMs(),
          end: null as UserProgram['end'],
          ended: promise,
        };
        started.push(program);
        void running.exited.then(() => {
          const exit = running.exit();
          running.release();
          const exitCode = exit === undefined || exit.signal !== 0 ? 0 : exit.exitCode;
          program.end = { exitCode, atMs: nowMs() };
          forgetLater(program);
          resolve(exitCode);
        });
        return program;
      } catch (error) {
        if (error instanceof JobStartError) throw failureOfErrno(error.errno, VIX.PROGRAM_NOT_STARTED);
        throw error;
      }
    },
    list: () => started,
    stop() {
      for (const cancel of timers) cancel();
      timers.clear();
    },
  };
}

/** The agent's own, as the user's. */
export function environmentOf({ name, home, shell }: Login): string[] {
  const own = { ...process.env, USER: name, HOME: home, SHELL: shell };
  return Object.entries(own).map(([key, value]) => `${key}=${value}`);
}
