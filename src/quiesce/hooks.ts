/**
 * The hooks of a freeze, in two kinds: the administrator's scripts (spec chr-wiki.txt, quiescing), and qemu-ga's one hook
 * program, which knows no failure but is told to thaw (spec qemu-ga.md section 5, Hook).
 */
import type { ProgramResult, RunProgram } from '../guest/program.ts';
import type { Log } from '../log.ts';
import type { Hooks } from '../scripts/hooks.ts';

/** Why a hook refused. */
export type HookFailure =
  | { kind: 'script'; name: 'freeze' | 'thaw'; reason: string }
  | { kind: 'program'; result: ProgramResult };

export interface QuiesceHooks {
  /** Before the freeze; null if it may go on. */
  freeze(signal: AbortSignal): Promise<HookFailure | null>;
  /**
   * Once on each course that failed, after everything is thawed.
   * @param at whether the freeze hook itself failed, or something after it
   */
  freezeFailed(at: 'freeze-hook' | 'later'): Promise<void>;
  /** After the thaw. */
  thaw(): Promise<HookFailure | null>;
}

/** The documented limit of a quiesce script. */
const TIME_LIMIT_MS = 60_000;

export function scriptHooks(hooks: Hooks, timeLimitMs = TIME_LIMIT_MS): QuiesceHooks {
  async function run(name: 'freeze' | 'thaw', signal?: AbortSignal): Promise<HookFailure | null> {
    const result = await hooks.run(name, { timeLimitMs, ...(signal && { signal }) });
    return result.kind === 'failed' ? { kind: 'script', name, reason: result.reason } : null;
  }
  return {
    freeze: (signal) => run('freeze', signal),
    async freezeFailed() {
      await hooks.run('freeze-fail', { timeLimitMs });
    },
    thaw: () => run('thaw'),
  };
}

/** @param path null: there is no hook */
export function programHooks(path: string | null, run: RunProgram, log: Log): QuiesceHooks {
  async function call(argument: 'freeze' | 'thaw', signal?: AbortSignal): Promise<HookFailure | null> {
    if (path === null) return null;
    const result = await run({ candidates: [path], args: [argument], ...(signal && { signal }) });
    return result.kind === 'exited' && result.code === 0 ? null : { kind: 'program', result };
  }
  return {
    freeze: (signal) => call('freeze', signal),
    async freezeFailed(at) {
      if (at === 'freeze-hook') return;
      const failure = await call('thaw');
      if (failure !== null) log.warning(`freeze hook ${path}: thaw failed after a failed freeze`);
    },
    thaw: () => call('thaw'),
  };
}
