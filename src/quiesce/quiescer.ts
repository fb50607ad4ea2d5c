/**
 * The quiescer: thawed → freezing → frozen → thawing, with an owner (design.md idea 4). It decides what happens in which
 * order; the guard freezes and thaws, so that nothing stays frozen whatever becomes of this process. On every course that
 * fails, and when the guard had to thaw, the freeze-fail hook runs once, and the owner's next thaw is an error.
 *
 * While the gate is shut nothing here makes a file call.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { ActionRefused } from '../guest/actions.ts';
import type { FreezeGateControl } from '../guest/freeze-gate.ts';
import type { Mount } from '../guest/mounts.ts';
import type { Log } from '../log.ts';
import { QuiesceError } from './errors.ts';
import { type Guard, type GuardEnd, GuardEndedError, GuardError } from './guard.ts';
import type { HookFailure, QuiesceHooks } from './hooks.ts';
import type { MarkerFile } from './marker.ts';
import { type FreezeTarget, freezeTargets } from './mounts.ts';
import { type OpenTarget, openTargets } from './open-targets.ts';
import { type LeftFrozen, thawMountPoints, tryThaw } from './rescue.ts';

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
  freeze(owner: string, mountPoints?: readonly string[]): Promise<number>;
  /**
   * Thaws; if nothing was frozen here, whatever others froze.
   * @returns how many file systems were frozen
   * @throws {QuiesceError}
   */
  thaw(owner: string): Promise<number>;
  /** Before the agent stops: gives up a freeze, thaws, and takes no new one. */
  stop(): Promise<void>;
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
const EBUSY = 16;
const EOPNOTSUPP = 95;

export function createQuiescer(options: QuiescerOptions): Quiescer {
  const { log, gate, marker, policy, startGuard, errorText, nowMs = Date.now } = options;
  let state: State = { state: 'thawed' };
  let notice: { owner: string; text: string } | null = null;
  let isStopping = false;

  // --- freeze

  async function freeze(owner: string, only?: readonly string[]): Promise<number> {
    if (isStopping) throw stopped();
    if (state.state !== 'thawed') throw busy(state);
    notice = null;
    const abort = new AbortController();
    const sinceMs = nowMs();
    const course = freezeCourse(owner, sinceMs, only, abort.signal);
    state = { state: 'freezing', owner, sinceMs, abort, done: course.catch(() => undefined) };
    return course;
  }

  async function freezeCourse(
    owner: string,
    sinceMs: number,
    only: readonly string[] | undefined,
    signal: AbortSignal,
  ): Promise<number> {
    // the state is set by then
    await null;
    const { hooks, timeLimitMs } = policy(owner);
    let failedAt: 'freeze-hook' | 'later' = 'freeze-hook';
    let guard: Guard | null = null;
    let targets: OpenTarget[] = [];
    try {
      await mark(owner, sinceMs, []);
      guard = await startGuard(timeLimitMs);
      const failure = await hooks.freeze(signal);
      if (failure !== null) throw hookError(failure);
      failedAt = 'later';
      stopIfAborted(signal);
      targets = await openTargets(guard, findTargets(only), options);
      await mark(owner, sinceMs, mountPointsOf(targets));
      await shutGate();
      const mountPoints = await freezeAll(guard, targets, signal);
      if (mountPoints.length === 0) {
        await guard.release();
        await leave();
        state = { state: 'thawed' };
        log.info(`${owner}: freeze: there is no file system to freeze`);
        return 0;
      }
      state = { state: 'frozen', owner, sinceMs, guard, mountPoints };
      watch(guard, owner);
      log.info(`${owner}: ${mountPoints.length} file systems are frozen: ${mountPoints.join(', ')}`);
      return mountPoints.length;
    } catch (cause) {
      const error = signal.aborted ? stopped() : asQuiesceError(cause);
      if (guard !== null) await undo(guard, mountPointsOf(targets));
      await leave();
      log.warning(`${owner}: freeze failed: ${error instanceof Error ? error.message : String(error)}`);
      await hooks.freezeFailed(failedAt);
      state = { state: 'thawed' };
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
    const settled = gate.shut().then(() => true);
    const inTime = await Promise.race([settled, delay(SETTLE_LIMIT_MS, false, { ref: false })]);
    if (!inTime) log.warning('a file is still being written while file systems are frozen');
  }

  /** @returns what is frozen now */
  async function freezeAll(
    guard: Guard,
    targets: readonly OpenTarget[],
    signal: AbortSignal,
  ): Promise<string[]> {
    // a freeze that hangs must not keep the agent from being stopped
    const giveUp = (): void => void guard.thaw();
    signal.addEventListener('abort', giveUp, { once: true });
    const frozen: string[] = [];
    try {
      for (const { number, mountPoint } of targets) {
        stopIfAborted(signal);
        const errno = await guard.freeze(number);
        if (errno === 0) frozen.push(mountPoint);
        // what cannot be frozen, and what somebody else has frozen
        else if (errno !== EOPNOTSUPP && errno !== EBUSY) {
          throw new QuiesceError('freeze', `failed to freeze ${mountPoint}: ${errorText(errno)}`);
        }
      }
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
    stopIfAborted(signal);
    return frozen;
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
    if (state.state !== 'thawed') throw busy(state);
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
    const running = course().finally(() => {
      state = { state: 'thawed' };
    });
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
    const mountPoints = findTargets(undefined)
      .filter(({ mountPoints: [mountPoint], major }) => isAllowed(mountPoint, major))
      .map((target) => target.mountPoints[0]);
    const count = await countThawed(mountPoints);
    if (count > 0) log.warning(`${owner}: ${count} file systems are thawed that others had frozen`);
    await runThawHook(owner);
    return count;
  }

  async function countThawed(mountPoints: readonly string[]): Promise<number> {
    if (mountPoints.length === 0) return 0;
    try {
      const end = await tryThaw(mountPoints, options);
      if (end.kind === 'thawed') return end.count;
      throw new GuardEndedError(end);
    } catch (error) {
      throw asQuiesceError(error);
    }
  }

  function isAllowed(mountPoint: string, major: number): boolean {
    try {
      options.mayFreeze('thaw', { mountPoint, major });
      return true;
    } catch (error) {
      if (error instanceof ActionRefused) return false;
      throw error;
    }
  }

  async function runThawHook(owner: string): Promise<void> {
    const failure = await policy(owner).hooks.thaw();
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
    end: GuardEnd | { kind: 'stopped' },
    mountPoints: readonly string[],
  ): Promise<string> {
    if (end.kind === 'died') await thawMountPoints(mountPoints, options);
    gate.open();
    return tellMeanwhile(owner, meanwhileText(end, policy(owner).timeLimitMs), mountPoints);
  }

  async function tellMeanwhile(owner: string, text: string, mountPoints: readonly string[]): Promise<string> {
    notice = { owner, text };
    log.error(`${owner}: ${text}`);
    // before the hook runs: should this process end meanwhile, the next one must not run it again
    await marker
      .write({ owner, sinceMs: nowMs(), mountPoints, notice: text })
      .catch((error: unknown) => log.warning(`freeze marker: ${String(error)}`));
    await policy(owner).hooks.freezeFailed('later');
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
    else void thawing(owner, false, () => tellMeanwhile(owner, LEFT_TEXT, mountPoints));
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

const INCONSISTENT = 'a backup taken meanwhile is not consistent';
const LEFT_TEXT = `file systems were thawed by the guard when the agent ended: ${INCONSISTENT}`;

function meanwhileText(end: GuardEnd | { kind: 'stopped' }, timeLimitMs: number): string {
  switch (end.kind) {
    case 'expired':
      return `file systems were thawed by the guard after ${timeLimitMs / 1000} s: ${INCONSISTENT}`;
    case 'stopped':
      return `file systems were thawed when the agent was stopped: ${INCONSISTENT}`;
    case 'died':
    case 'thawed':
      return `file systems were thawed since the guard had ended: ${INCONSISTENT}`;
  }
}

function busy(state: Exclude<State, { state: 'thawed' }>): QuiesceError {
  const does = { freezing: 'is freezing', frozen: 'has frozen', thawing: 'is thawing' }[state.state];
  return new QuiesceError('busy', `${state.owner} ${does} the file systems`);
}

function hookError(failure: HookFailure): QuiesceError {
  const text =
    failure.kind === 'script'
      ? `the ${failure.name} script failed: ${failure.reason}`
      : 'the freeze hook program failed';
  return new QuiesceError('hook', text, failure);
}

function stopped(): QuiesceError {
  return new QuiesceError('stopping', 'the agent is being stopped');
}

function stopIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw stopped();
}

/** What its modules throw; a bug stays what it is. */
function asQuiesceError(error: unknown): unknown {
  if (error instanceof GuardError || error instanceof GuardEndedError) {
    return new QuiesceError('guard', error.message);
  }
  return error instanceof ActionRefused ? new QuiesceError('refused', error.message) : error;
}

const mountPointsOf = (targets: readonly OpenTarget[]): string[] =>
  targets.map(({ mountPoint }) => mountPoint);
