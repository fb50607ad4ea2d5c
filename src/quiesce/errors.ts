/** Why a freeze or a thaw was refused, or failed, and the words for it. */
import { ActionRefused } from '../guest/actions.ts';
import { type GuardEnd, GuardEndedError, GuardError } from './guard.ts';
import type { HookFailure } from './hooks.ts';

export type QuiesceProblem =
  /** Somebody freezes, has frozen or thaws. */
  | 'busy'
  /** The agent is being stopped. */
  | 'stopping'
  /** Whoever asked for the freeze has given it up. */
  | 'cancelled'
  /** A hook failed: {@link QuiesceError.hook}. */
  | 'hook'
  /** The mounts could not be read. */
  | 'mounts'
  /** A file system could not be opened or frozen. */
  | 'freeze'
  /** This run may not freeze that (CHR_AGENT_NO_ACTIONS). */
  | 'refused'
  /** The guard could not be had, or its time was over during the freeze. */
  | 'guard'
  /** Everything had been thawed meanwhile, without having been asked for. */
  | 'thawed-meanwhile';

/** The message is in qemu-ga's words where it has some. */
export class QuiesceError extends Error {
  override name = 'QuiesceError';
  readonly problem: QuiesceProblem;
  readonly hook: HookFailure | null;
  constructor(problem: QuiesceProblem, text: string, hook: HookFailure | null = null) {
    super(text);
    this.problem = problem;
    this.hook = hook;
  }
}

export function busyError(owner: string, state: 'freezing' | 'frozen' | 'thawing'): QuiesceError {
  const does = { freezing: 'is freezing', frozen: 'has frozen', thawing: 'is thawing' }[state];
  return new QuiesceError('busy', `${owner} ${does} the file systems`);
}

export function stoppingError(): QuiesceError {
  return new QuiesceError('stopping', 'the agent is being stopped');
}

export function cancelledError(): QuiesceError {
  return new QuiesceError('cancelled', 'the freeze was cancelled');
}

export function hookError(failure: HookFailure): QuiesceError {
  const text =
    failure.kind === 'script'
      ? `the ${failure.name} script failed: ${failure.reason}`
      : 'the freeze hook program failed';
  return new QuiesceError('hook', text, failure);
}

/** What the guard and the actions throw becomes one; a bug stays what it is. */
export function asQuiesceError(error: unknown): unknown {
  if (error instanceof GuardError || error instanceof GuardEndedError) {
    return new QuiesceError('guard', error.message);
  }
  return error instanceof ActionRefused ? new QuiesceError('refused', error.message) : error;
}

/** How everything came to be thawed without the owner having asked. */
export type ThawedMeanwhile =
  | GuardEnd
  /** The agent was being stopped. */
  | { kind: 'stopped' }
  /** An earlier agent ended without a word. */
  | { kind: 'left' };

/** What the owner's next thaw says. */
export function meanwhileText(how: ThawedMeanwhile, timeLimitMs: number): string {
  return `${meanwhileReason(how, timeLimitMs)}: a backup taken meanwhile is not consistent`;
}

function meanwhileReason(how: ThawedMeanwhile, timeLimitMs: number): string {
  switch (how.kind) {
    case 'expired':
      return `file systems were thawed by the guard after ${timeLimitMs / 1000} s`;
    case 'stopped':
      return 'file systems were thawed when the agent was stopped';
    case 'left':
      return 'file systems were thawed by the guard when the agent ended';
    case 'died':
    case 'thawed':
      return 'file systems were thawed since the guard had ended';
  }
}
