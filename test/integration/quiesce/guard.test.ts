// The guard by itself, over its own protocol: native/helper/guard.c.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createActions } from '../../../src/guest/actions.ts';
import { helperPath, native } from '../../../src/native/index.ts';
import { type Guard, GuardEndedError, startGuard } from '../../../src/quiesce/guard.ts';
import { recordingLog } from '../../support/quiet-log.ts';
import { canMount, isFrozen, LoopMounts, until } from './loop-mounts.ts';
import { guardsOf } from './processes.ts';

const EPERM = 1;
const ENOENT = 2;
const EBUSY = 16;
const ENOTDIR = 20;
const EINVAL = 22;
const ENAMETOOLONG = 36;

describe.skipIf(!canMount)('the guard', () => {
  const actions = createActions({ native, log: recordingLog(), noActions: true, testRoot: null });
  let mounts: LoopMounts;
  let first: string;
  let second: string;
  let guards: Guard[] = [];

  beforeAll(() => {
    mounts = new LoopMounts();
    first = mounts.add('first');
    second = mounts.add('second');
  });
  beforeEach(() => mounts.armWatchdogs());
  afterEach(async () => {
    await Promise.all(guards.map((guard) => guard.release()));
    guards = [];
    expect(guardsOf(process.pid)).toEqual([]);
    expect(mounts.thawAll()).toBe(false);
  });
  afterAll(() => mounts.remove());

  async function start(timeLimitMs = 0): Promise<Guard> {
    const guard = await startGuard({ native, actions, helperPath, timeLimitMs });
    guards.push(guard);
    return guard;
  }

  async function opened(...paths: string[]): Promise<Guard> {
    const guard = await start();
    for (const path of paths) expect(await guard.open(path)).toMatchObject({ kind: 'opened', major: 7 });
    return guard;
  }

  it.each([
    ['the root file system, in a run without actions', '/', EPERM],
    ['what is not there', '/nowhere', ENOENT],
    ['what is no directory', '/etc/passwd', ENOTDIR],
    ['a path that is too long', `/${'x'.repeat(10_000)}`, ENAMETOOLONG],
  ])('does not open %s', async (_what, path, errno) => {
    const guard = await start();
    expect(await guard.open(path)).toEqual({ kind: 'failed', errno });
    expect(await guard.freeze(0)).toBe(EINVAL);
    expect(await guard.thaw()).toEqual({ kind: 'thawed', count: 0 });
  });

  it('freezes what was opened, once; then opens nothing any more', async () => {
    const guard = await opened(first, second);
    expect(await guard.freeze(1)).toBe(0);
    expect(await guard.freeze(1)).toBe(EBUSY);
    expect(await guard.freeze(2)).toBe(EINVAL);
    expect(await guard.open(first)).toEqual({ kind: 'failed', errno: EBUSY });
    expect(await isFrozen(first)).toBe(false);
    expect(await isFrozen(second)).toBe(true);
    expect(await guard.thaw()).toEqual({ kind: 'thawed', count: 1 });
    expect(await isFrozen(second)).toBe(false);
    await expect(guard.freeze(0)).rejects.toThrow(GuardEndedError);
  });

  it('thaws when it is let go', async () => {
    const guard = await opened(first);
    await guard.freeze(0);
    await guard.release();
    expect(await isFrozen(first)).toBe(false);
    expect(await guard.ended).toEqual({ kind: 'died' });
  });

  it('thaws a loop device whose image is frozen, although that hangs', async () => {
    const upper = mounts.add('upper', 'ext4', first, 16);
    mounts.armWatchdogs();
    // the wrong order: the freeze of the upper one waits for the lower one
    const guard = await opened(first, upper);
    expect(await guard.freeze(0)).toBe(0);
    const hangs = guard.freeze(1);
    await expect(
      Promise.race([hangs, new Promise((resolve) => setTimeout(resolve, 300, 'hangs'))]),
    ).resolves.toBe('hangs');
    const refused = expect(hangs).rejects.toThrow(GuardEndedError);
    expect(await guard.thaw()).toMatchObject({ kind: 'thawed' });
    await refused;
    for (const each of [first, upper]) expect(await isFrozen(each)).toBe(false);
  });

  it('expires, once', async () => {
    const guard = await start(200);
    await guard.open(first);
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(await guard.freeze(0)).toBe(0);
    expect(await guard.ended).toEqual({ kind: 'expired', count: 1 });
    expect(await guard.thaw()).toEqual({ kind: 'expired', count: 1 });
    await until('it is gone', () => guardsOf(process.pid).length === 0);
  });
});
