/** Why a freeze or a thaw was refused, or failed. */
import type { HookFailure } from './hooks.ts';

export type QuiesceProblem =
  /** Somebody freezes, has frozen or thaws. */
  | 'busy'
  /** The agent is being stopped. */
  | 'stopping'
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
