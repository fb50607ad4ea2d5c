/**
 * The quiescer: thawed → freezing → frozen → thawing, with an owner (design.md idea 4). It decides what happens in which
 * order; the guard freezes and thaws, so that nothing stays frozen whatever becomes of this process. On every course that
 * fails, and when the guard had to thaw, the freeze-fail hook runs once, and the owner's next thaw is an error.
 *
 * While the gate is shut nothing here makes a file call.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { FreezeGateControl } from '../guest/freeze-gate.ts';
import type { Mount } from '../guest/mounts.ts';
import type { Log } from '../log.ts';
import {
  asQuiesceError,
  busyError,
  cancelledError,
  hookError,
  meanwhileText,
  QuiesceError,
  stoppingError,
  type ThawedMeanwhile,
} from './errors.ts';
import type { Guard } from './guard.ts';
import type { QuiesceHooks } from './hooks.ts';
import type { MarkerFile } from './marker.ts';
import { type FreezeTarget, freezeTargets } from './mounts.ts';
import { type LeftFrozen, thawByWhomever, thawMountPoints } from './rescue.ts';
import { freezeOpened, type OpenTarget, openTargets } from './targets.ts';

export interface QuiescePolicy {
  readonly hooks: QuiesceHooks;
  /** After which the guard thaws; 0: never by time. */
  readonly timeLimitMs: number;
}

export interface QuiesceStatus {
  readonly state: 'thawed' | 'freezing' | 'frozen' | 'thawing';
  /** Who freezes, or froze: a protocol's name. */
  readonly owner: string | null;
  /** When the freeze was asked for, ms since 1970. */
  readonly sinceMs: number | null;
  /** One for each frozen file system. */
  readonly mountPoints: readonly string[];
  /** 0: none. */
  readonly timeLimitMs: number;
  /** Set if everything was thawed without having been asked for: what the next thaw will say. */
  readonly notice: string | null;
}

export interface Quiescer {
  /** From memory. */
  readonly status: QuiesceStatus;
  /**
   * Freezes every file system of the guest's own, or those with one of `mountPoints`.
   * @returns how many; with 0 nothing is frozen, and there is nothing to thaw
   * @throws {QuiesceError}
   */
  freeze(owner: string, mountPoints?: readonly string[], how?: FreezeOptions): Promise<number>;
  /**
   * Thaws; if nothing was frozen here, whatever others froze.
   * @returns how many file systems were frozen
   * @throws {QuiesceError}
   */
  thaw(owner: string): Promise<number>;
  /** Before the agent stops: gives up a freeze, thaws, and takes no new one. */
  stop(): Promise<void>;
}

export interface FreezeOptions {
  /** Gives up the freeze under way, also while its hook runs; nothing once it is done. */
  readonly signal?: AbortSignal;
  /** In the place of the policy's, until everything is thawed. */
  readonly hooks?: QuiesceHooks;
}

export interface QuiescerOptions {
  log: Log;
  gate: FreezeGateControl;
  marker: MarkerFile;
  /** What an earlier daemon left (`thawLeftFrozen`). */
  left: LeftFrozen | null;
  policy(owner: string): QuiescePolicy;
  /** @throws Node's system error */
  readMounts(): readonly Mount[];
  /** @throws {GuardError} */
  startGuard(timeLimitMs: number): Promise<Guard>;
  /** @throws {ActionRefused} */
  mayFreeze(action: 'freeze' | 'thaw', mount: { mountPoint: string; major: number }): void;
  errorText(errno: number): string;
  nowMs?: () => number;
}

type State =
  | { state: 'thawed' }
  | { state: 'freezing'; owner: string; sinceMs: number; abort: AbortController; done: Promise<unknown> }
  | { state: 'frozen'; owner: string; sinceMs: number; guard: Guard; mountPoints: readonly string[] }
  /** `asked`: by its owner. Else the thaw that comes meanwhile waits for the end, and then is an error. */
  | { state: 'thawing'; owner: string; asked: boolean; done: Promise<unknown> };

/** What passed the gate before it was shut may take this long; then it has to wait for the thaw in a thread of its own. */
const SETTLE_LIMIT_MS = 2_000;

export function createQuiescer(options: QuiescerOptions): Quiescer {
  const { log, gate, marker, policy, startGuard, nowMs = Date.now } = options;
  let state: State = { state: 'thawed' };
  let notice: { owner: string; text: string } | null = null;
  let isStopping = false;
  /** Those that the freeze in force, or under way, came with. */
  let ownHooks: QuiesceHooks | null = null;

  const hooksOf = (owner: string): QuiesceHooks => ownHooks ?? policy(owner).hooks;

  function nowThawed(): void {
    state = { state: 'thawed' };
    ownHooks = null;
  }

  // --- freeze

  async function freeze(
    owner: string,
    only?: readonly string[],
    { signal, hooks }: FreezeOptions = {},
  ): Promise<number> {
    if (isStopping) throw stoppingError();
    if (state.state !== 'thawed') throw busyError(state.owner, state.state);
    notice = null;
    ownHooks = hooks ?? null;
    const abort = new AbortController();
    const giveUp = (): void => abort.abort();
    if (signal?.aborted) giveUp();
    signal?.addEventListener('abort', giveUp, { once: true });
    const sinceMs = nowMs();
    const { promise: done, resolve } = Promise.withResolvers<void>();
    state = { state: 'freezing', owner, sinceMs, abort, done };
    return freezeCourse(owner, sinceMs, only, abort.signal).finally(() => {
      signal?.removeEventListener('abort', giveUp);
      resolve();
    });
  }

  async function freezeCourse(
    owner: string,
    sinceMs: number,
    only: readonly string[] | undefined,
    signal: AbortSignal,
  ): Promise<number> {
    const hooks = hooksOf(owner);
    const { timeLimitMs } = policy(owner);
    let failedAt: 'freeze-hook' | 'later' = 'freeze-hook';
    let guard: Guard | null = null;
    let targets: OpenTarget[] = [];
    try {
      await mark(owner, sinceMs, []);
      guard = await startGuard(timeLimitMs);
      const failure = await hooks.freeze(signal);
      if (failure !== null) throw hookError(failure);
      failedAt = 'later';
      if (signal.aborted) throw stoppingError();
      targets = await openTargets(guard, findTargets(only), options);
      await mark(owner, sinceMs, targets.map(toMountPoint));
      await shutGate();
      const mountPoints = await freezeOpened(guard, targets, signal, options.errorText);
      if (mountPoints.length === 0) {
        await guard.release();
        await leave();
        nowThawed();
        log.info(`${owner}: freeze: there is no file system to freeze`);
        return 0;
      }
      state = { state: 'frozen', owner, sinceMs, guard, mountPoints };
      watch(guard, owner);
      log.info(`${owner}: ${mountPoints.length} file systems are frozen: ${mountPoints.join(', ')}`);
      return mountPoints.length;
    } catch (cause) {
      const error = signal.aborted
        ? isStopping
          ? stoppingError()
          : cancelledError()
        : asQuiesceError(cause);
      if (guard !== null) await undo(guard, targets.map(toMountPoint));
      await leave();
      log.warning(`${owner}: freeze failed: ${error instanceof Error ? error.message : String(error)}`);
      await hooks.freezeFailed(failedAt).finally(nowThawed);
      throw error;
    }
  }

  function findTargets(only: readonly string[] | undefined): FreezeTarget[] {
    try {
      return freezeTargets(options.readMounts(), only);
    } catch (error) {
      throw new QuiesceError('mounts', error instanceof Error ? error.message : String(error));
    }
  }

  async function shutGate(): Promise<void> {
    const settled = new AbortController();
    const waited = delay(SETTLE_LIMIT_MS, null, { signal: settled.signal }).then(
      () => log.warning('a file is still being written while file systems are frozen'),
      () => undefined,
    );
    await Promise.race([gate.shut(), waited]);
    settled.abort();
  }

  /** Whatever is frozen after a failure is so no longer. */
  async function undo(guard: Guard, mountPoints: readonly string[]): Promise<void> {
    if (!gate.frozen) return guard.release();
    const end = await guard.thaw();
    if (end.kind === 'died') await thawMountPoints(mountPoints, options);
  }

  /** Everything is thawed: opens the gate and drops the marker. */
  async function leave(): Promise<void> {
    gate.open();
    await marker.remove().catch((error: unknown) => log.warning(`freeze marker: ${String(error)}`));
  }

  async function mark(owner: string, sinceMs: number, mountPoints: readonly string[]): Promise<void> {
    await marker
      .write({ owner, sinceMs, mountPoints, notice: null })
      .catch((error: unknown) => log.warning(`freeze marker: ${String(error)}`));
  }

  // --- thaw

  async function thaw(owner: string): Promise<number> {
    if (state.state === 'thawing' && !state.asked && state.owner === owner) await state.done;
    if (state.state === 'frozen' && state.owner === owner) {
      const { guard, mountPoints } = state;
      return thawing(owner, true, () => thawCourse(owner, guard, mountPoints));
    }
    if (state.state !== 'thawed') throw busyError(state.owner, state.state);
    if (notice?.owner === owner) {
      const { text } = notice;
      notice = null;
      await marker.remove().catch(() => undefined);
      throw new QuiesceError('thawed-meanwhile', text);
    }
    return thawing(owner, true, () => thawOthers(owner));
  }

  /** Runs a course in state `thawing`, which ends thawed. */
  function thawing<T>(owner: string, asked: boolean, course: () => Promise<T>): Promise<T> {
    const running = course().finally(nowThawed);
    state = { state: 'thawing', owner, asked, done: running.catch(() => undefined) };
    return running;
  }

  async function thawCourse(owner: string, guard: Guard, mountPoints: readonly string[]): Promise<number> {
    const end = await guard.thaw();
    if (end.kind !== 'thawed') {
      const text = await thawedMeanwhile(owner, end, mountPoints);
      notice = null;
      await marker.remove().catch(() => undefined);
      throw new QuiesceError('thawed-meanwhile', text);
    }
    await leave();
    log.info(`${owner}: ${end.count} file systems are thawed`);
    await runThawHook(owner);
    return end.count;
  }

  /** As qemu-ga, which thaws also what it has not frozen. */
  async function thawOthers(owner: string): Promise<number> {
    let count: number;
    try {
      count = await thawByWhomever(findTargets(undefined), options);
    } catch (error) {
      throw asQuiesceError(error);
    }
    if (count > 0) log.warning(`${owner}: ${count} file systems are thawed that others had frozen`);
    await runThawHook(owner);
    return count;
  }

  async function runThawHook(owner: string): Promise<void> {
    const failure = await hooksOf(owner).thaw();
    if (failure !== null) throw hookError(failure);
  }

  // --- thawed without having been asked for

  function watch(guard: Guard, owner: string): void {
    void guard.ended.then((end) => {
      if (state.state !== 'frozen' || state.guard !== guard) return;
      const { mountPoints } = state;
      void thawing(owner, false, () => thawedMeanwhile(owner, end, mountPoints));
    });
  }

  /** @returns what the owner's next thaw says */
  async function thawedMeanwhile(
    owner: string,
    end: ThawedMeanwhile,
    mountPoints: readonly string[],
  ): Promise<string> {
    if (end.kind === 'died') await thawMountPoints(mountPoints, options);
    gate.open();
    return tellMeanwhile(owner, end, mountPoints);
  }

  async function tellMeanwhile(
    owner: string,
    how: ThawedMeanwhile,
    mountPoints: readonly string[],
  ): Promise<string> {
    const { timeLimitMs } = policy(owner);
    const text = meanwhileText(how, timeLimitMs);
    notice = { owner, text };
    log.error(`${owner}: ${text}`);
    // before the hook runs: should this process end meanwhile, the next one must not run it again
    await marker
      .write({ owner, sinceMs: nowMs(), mountPoints, notice: text })
      .catch((error: unknown) => log.warning(`freeze marker: ${String(error)}`));
    await hooksOf(owner).freezeFailed('later');
    return text;
  }

  async function stop(): Promise<void> {
    isStopping = true;
    if (state.state === 'freezing') state.abort.abort();
    if (state.state === 'frozen') {
      const { owner, guard, mountPoints } = state;
      await thawing(owner, false, async () => {
        const end = await guard.thaw();
        return thawedMeanwhile(owner, end.kind === 'thawed' ? { kind: 'stopped' } : end, mountPoints);
      });
    } else if (state.state !== 'thawed') {
      await state.done;
    }
  }

  function takeOver({ owner, notice: known, mountPoints }: LeftFrozen): void {
    if (known !== null) notice = { owner, text: known };
    else void thawing(owner, false, () => tellMeanwhile(owner, { kind: 'left' }, mountPoints));
  }

  if (options.left !== null) takeOver(options.left);

  return {
    freeze,
    thaw,
    stop,
    get status() {
      return {
        state: state.state,
        owner: state.state === 'thawed' ? null : state.owner,
        sinceMs: state.state === 'frozen' || state.state === 'freezing' ? state.sinceMs : null,
        mountPoints: state.state === 'frozen' ? state.mountPoints : [],
        timeLimitMs: state.state === 'frozen' ? policy(state.owner).timeLimitMs : 0,
        notice: notice?.text ?? null,
      };
    },
  };
}

const toMountPoint = ({ mountPoint }: OpenTarget): string => mountPoint;
