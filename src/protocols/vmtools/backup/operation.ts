/**
 * One quiesce operation: freezing → frozen (the host takes its snapshot) → thawing, or failing out of each of them. `req.done`
 * ends every course (spec vmware.md section 8).
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Log } from '../../../log.ts';
import { QuiesceError } from '../../../quiesce/errors.ts';
import type { HookFailure, QuiesceHooks } from '../../../quiesce/hooks.ts';
import { accepted, refused, type TcloReply } from '../rpc.ts';
import type { SetTimer } from '../timer.ts';
import { type BackupEvents, CODE } from './events.ts';
import type { SyncProvider } from './providers.ts';

/** Why an operation is given up. */
export type Cancellation =
  | 'host'
  | 'time-limit'
  /** Everything was thawed without having been asked for: what the host copies meanwhile is not consistent. */
  | 'thawed'
  | 'stopping'
  /** The host did not take an event. */
  | 'unheard';

export interface BackupOperation {
  readonly ended: Promise<void>;
  /** The host has its snapshot. Answers when everything is thawed. */
  snapshotDone(): Promise<TcloReply>;
  /** Resolves when the host has been told so. */
  cancel(why: Cancellation): Promise<void>;
}

export interface BackupOperationOptions {
  readonly events: BackupEvents;
  readonly hooks: QuiesceHooks;
  /** @param hooks the ones it is to run */
  provider(hooks: QuiesceHooks): SyncProvider;
  /** Resolves when no file system is frozen (any more). */
  whenThawed(): Promise<void>;
  /** Whether {@link whenThawed} was not ours: the guard was quicker. */
  wasThawedMeanwhile(): boolean;
  /** Calls back after each thaw. @returns the way to stop that */
  onThaw(listener: () => void): () => void;
  /** After a freeze of file systems, once they are thawed: @returns the path for the host; null: there is none */
  readonly manifest: (() => Promise<string | null>) | null;
  readonly timeLimitMs: number;
  /** Whether a thaw hook that fails is an error for the host, which has its snapshot. */
  readonly reportsThawHook: boolean;
  readonly setTimer: SetTimer;
  readonly log: Log;
}

type Phase = 'freezing' | 'frozen' | 'thawing' | 'failing';

/** Of the seconds that a host waits for a reply before it takes the tools for dead. */
const REPLY_LIMIT_MS = 3_000;

/** The host has been told `reset`. */
export function startOperation(options: BackupOperationOptions): BackupOperation {
  const { events, log } = options;
  const abort = new AbortController();
  /** The host's snapshot is taken, or never will be. */
  const settled = Promise.withResolvers<void>();
  /** The host has heard of the failure. */
  const told = Promise.withResolvers<void>();
  let phase: Phase = 'freezing';
  let cancellation: Cancellation | null = null;
  let failedHook: HookFailure | null = null;
  let frozenCount = 0;
  let telling: Promise<void> | null = null;

  const hooks: QuiesceHooks = {
    async freeze(signal) {
      failedHook = await options.hooks.freeze(signal);
      return failedHook;
    },
    async freezeFailed(at) {
      if (phase === 'frozen' || phase === 'thawing') thawedByOthers();
      await tellFailure();
      await options.hooks.freezeFailed(at);
    },
    async thaw() {
      if (cancellation !== null) {
        await hooks.freezeFailed('later');
        return null;
      }
      if (frozenCount > 0) await tellManifest();
      return options.hooks.thaw();
    },
  };
  const provider = options.provider(hooks);
  const cancelTimer = options.setTimer(() => void cancel('time-limit'), options.timeLimitMs);
  const stopListening = options.onThaw(() => {
    if (phase === 'frozen' && frozenCount > 0) thawedByOthers();
  });

  /** By the guard, or at the end of the agent. What was given up before stays that. */
  function thawedByOthers(): void {
    cancellation ??= 'thawed';
    settled.resolve();
  }

  async function course(): Promise<void> {
    try {
      frozenCount = await provider.freeze(abort.signal);
      phase = 'frozen';
      if (cancellation === null && !(await events.send('prov.snapshotCommit'))) void cancel('unheard');
      await settled.promise;
      phase = 'thawing';
      cancelTimer();
      await provider.thaw();
    } catch (error) {
      await failed(error);
    }
  }

  async function failed(error: unknown): Promise<void> {
    if (!(error instanceof QuiesceError)) {
      log.error(`backup: ${error instanceof Error ? error.stack : String(error)}`);
    } else if (phase === 'thawing' && error.problem === 'hook') {
      // the snapshot itself is fine
      if (options.reportsThawHook) await sendScriptFailure('VmBackupOnThaw');
      return;
    } else if (error.problem === 'thawed-meanwhile') {
      cancellation ??= 'thawed';
    }
    await tellFailure();
  }

  /** Once: later calls wait for the first. */
  function tellFailure(): Promise<void> {
    telling ??= sendFailure().finally(told.resolve);
    return telling;
  }

  async function sendFailure(): Promise<void> {
    phase = 'failing';
    log.warning(`backup: the operation failed: ${cancellation ?? (failedHook ? 'freeze hook' : 'freeze')}`);
    if (cancellation === 'unheard') return;
    if (cancellation !== null) {
      await events.send('req.aborted', CODE.REMOTE_ABORT, 'Quiesce canceled.');
    } else if (failedHook !== null) {
      await sendScriptFailure('VmBackupOnFreeze');
    } else {
      await events.send('req.error', CODE.SYNC_ERROR, 'Error when enabling the sync provider.');
    }
  }

  /** @param step as the reference names it */
  async function sendScriptFailure(step: string): Promise<void> {
    await events.send('req.error', CODE.SCRIPT_ERROR, 'Custom quiesce script failed.');
    await events.send('req.error', CODE.UNEXPECTED_ERROR, `'${step}' operation failed.`);
  }

  async function tellManifest(): Promise<void> {
    const path = await options.manifest?.();
    // whether the host wants it does not matter
    if (path) await events.send('req.genericManifest', CODE.SUCCESS, path);
  }

  async function cancel(why: Cancellation): Promise<void> {
    if (phase !== 'failing') {
      cancellation ??= why;
      abort.abort();
      settled.resolve();
      if (phase === 'thawing') await tellFailure();
    }
    await within(Promise.race([told.promise, ended]));
  }

  async function snapshotDone(): Promise<TcloReply> {
    if (phase !== 'frozen' || cancellation !== null) return refused(UNEXPECTED_STATE);
    phase = 'thawing';
    settled.resolve();
    await within(Promise.race([options.whenThawed(), ended]));
    if (options.wasThawedMeanwhile()) thawedByOthers();
    return cancellation === null ? accepted() : refused(UNEXPECTED_STATE);
  }

  const ended = course()
    .catch((error: unknown) => log.error(`backup: ${String(error)}`))
    .finally(async () => {
      cancelTimer();
      stopListening();
      await events.finish();
    });
  return { ended, snapshotDone, cancel };
}

/** Settles at the latest when the host must have its answer. */
async function within(work: Promise<unknown>): Promise<void> {
  const timer = new AbortController();
  const limit = delay(REPLY_LIMIT_MS, undefined, { signal: timer.signal }).catch(() => undefined);
  await Promise.race([work, limit]);
  timer.abort();
}

const UNEXPECTED_STATE = 'Error: unexpected state for quiesce done message.';
