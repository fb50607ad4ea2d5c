// The quiescer's courses with a guard and hooks that do what the test says: issue 5 item 2.
import { describe, expect, it } from 'vitest';
import { ActionRefused } from '../../../src/guest/actions.ts';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import type { Mount } from '../../../src/guest/mounts.ts';
import type { QuiesceError } from '../../../src/quiesce/errors.ts';
import { type Guard, type GuardEnd, GuardEndedError, GuardError } from '../../../src/quiesce/guard.ts';
import type { HookFailure } from '../../../src/quiesce/hooks.ts';
import type { FoundMarker, Marker } from '../../../src/quiesce/marker.ts';
import { createQuiescer } from '../../../src/quiesce/quiescer.ts';
import { thawLeftFrozen } from '../../../src/quiesce/rescue.ts';
import { recordingLog } from '../../support/quiet-log.ts';

const mount = (mountPoint: string, minor: number, changes: Partial<Mount> = {}): Mount => ({
  id: minor,
  parentId: 1,
  major: 253,
  minor,
  root: '/',
  mountPoint,
  type: 'ext4',
  source: '/dev/x',
  options: ['rw'],
  superOptions: ['rw'],
  readOnly: false,
  ...changes,
});

const MOUNTS = [mount('/', 1), mount('/var', 2), mount('/srv', 3)];
const EIO = 5;
const EBUSY = 16;
const EOPNOTSUPP = 95;

interface Script {
  mounts?: Mount[];
  /** Of each mount point's FIFREEZE; 'dies' and 'expires' are the guard's. 0 if not given. */
  freeze?: Record<string, number | 'dies' | 'expires' | 'hangs'>;
  /** How each guard answers to the order to thaw. */
  thawEnds?: GuardEnd['kind'][];
  /** The errno of guard starts. */
  startFails?: boolean[];
  hook?: HookFailure | null;
  thawHook?: HookFailure | null;
  refuses?: boolean;
  failsToOpen?: Record<string, number>;
  /** Mount points that lead to another file system. */
  covered?: string[];
  marker?: FoundMarker;
}

function setUp(script: Script = {}) {
  const events: string[] = [];
  const log = recordingLog();
  const gate = createFreezeGate();
  const guards: { end(how: GuardEnd): void }[] = [];
  const mounts = script.mounts ?? MOUNTS;
  let written: Marker | null = null;

  async function startGuard(): Promise<Guard> {
    if (script.startFails?.shift() === true) throw new GuardError('no guard');
    events.push('guard');
    const ended = Promise.withResolvers<GuardEnd>();
    const paths: string[] = [];
    const hanging: ((error: Error) => void)[] = [];
    let isEnded = false;
    const end = (how: GuardEnd): void => {
      isEnded = true;
      ended.resolve(how);
      for (const reject of hanging) reject(new GuardEndedError(how));
    };
    guards.push({ end });
    return {
      ended: ended.promise,
      async open(path) {
        const errno = script.failsToOpen?.[path];
        if (errno !== undefined) return { kind: 'failed', errno };
        paths.push(path);
        const { minor = 0 } = mounts.find((each) => each.mountPoint === path) ?? {};
        return { kind: 'opened', major: 253, minor: script.covered?.includes(path) ? 99 : minor };
      },
      async freeze(number) {
        const path = paths[number] ?? '?';
        events.push(`freeze ${path}${gate.frozen ? '' : ' with the gate open'}`);
        const result = script.freeze?.[path] ?? 0;
        if (typeof result === 'number') return result;
        if (result !== 'hangs') end(result === 'dies' ? { kind: 'died' } : { kind: 'expired', count: 1 });
        return new Promise((_, reject) => {
          if (isEnded) ended.promise.then((how) => reject(new GuardEndedError(how)));
          else hanging.push(reject);
        });
      },
      thaw() {
        if (isEnded) return ended.promise;
        events.push(`thaw ${paths.join(' ')}${gate.frozen ? '' : ' with the gate open'}`);
        const kind = script.thawEnds?.shift() ?? 'thawed';
        end(kind === 'died' ? { kind } : { kind, count: paths.length });
        return ended.promise;
      },
      async release() {
        events.push('release');
        end({ kind: 'died' });
      },
    };
  }

  const marker = {
    find: () => script.marker ?? ({ kind: 'none' } as const),
    async write(next: Marker) {
      if (gate.frozen) events.push('marker written while frozen');
      written = next;
    },
    async remove() {
      if (gate.frozen) events.push('marker removed while frozen');
      written = null;
    },
  };
  const parts = { log, gate, marker, startGuard, readMounts: () => mounts };
  const create = (left: Awaited<ReturnType<typeof thawLeftFrozen>> = null) =>
    createQuiescer({
      ...parts,
      left,
      policy: () => ({
        timeLimitMs: 60_000,
        hooks: {
          async freeze() {
            events.push('hook freeze');
            return script.hook ?? null;
          },
          async freezeFailed(at) {
            events.push(`hook freeze-fail (${at})${gate.frozen ? ' while frozen' : ''}`);
          },
          async thaw() {
            events.push(`hook thaw${gate.frozen ? ' while frozen' : ''}`);
            return script.thawHook ?? null;
          },
        },
      }),
      mayFreeze: () => {
        if (script.refuses) throw new ActionRefused('refused: this run may not');
      },
      errorText: (errno) => `errno ${errno}`,
      nowMs: () => 1_000,
    });
  return { events, gate, guards, log, create, left: () => thawLeftFrozen(parts), written: () => written };
}

const failure = (promise: Promise<unknown>): Promise<QuiesceError> =>
  promise.then(
    () => Promise.reject(new Error('it did not fail')),
    (error) => error,
  );

const settle = () => new Promise((resolve) => setTimeout(resolve, 0));

describe('a freeze', () => {
  it('guard, hook, reverse mount order; thaw, hook', async () => {
    const { events, gate, create, written } = setUp();
    const quiescer = create();
    expect(await quiescer.freeze('a')).toBe(3);
    expect(gate.frozen).toBe(true);
    expect(written()).toEqual({
      owner: 'a',
      sinceMs: 1_000,
      mountPoints: ['/srv', '/var', '/'],
      notice: null,
    });
    expect(quiescer.status).toEqual({
      state: 'frozen',
      owner: 'a',
      sinceMs: 1_000,
      mountPoints: ['/srv', '/var', '/'],
      timeLimitMs: 60_000,
      notice: null,
    });
    expect(await quiescer.thaw('a')).toBe(3);
    expect(gate.frozen).toBe(false);
    expect(written()).toBeNull();
    expect(events).toEqual([
      'guard',
      'hook freeze',
      'freeze /srv',
      'freeze /var',
      'freeze /',
      'thaw /srv /var /',
      'hook thaw',
    ]);
  });

  it.each([
    ['EOPNOTSUPP', EOPNOTSUPP],
    ['EBUSY', EBUSY],
  ])('%s is skipped', async (_name, errno) => {
    const { create } = setUp({ freeze: { '/var': errno } });
    const quiescer = create();
    expect(await quiescer.freeze('a')).toBe(2);
    expect(quiescer.status.mountPoints).toEqual(['/srv', '/']);
  });

  it('of nothing leaves everything thawed, and runs no other hook', async () => {
    const { events, gate, create, written } = setUp({
      freeze: { '/': EBUSY, '/var': EBUSY, '/srv': EOPNOTSUPP },
    });
    const quiescer = create();
    expect(await quiescer.freeze('a')).toBe(0);
    expect(gate.frozen).toBe(false);
    expect(quiescer.status.state).toBe('thawed');
    expect(written()).toBeNull();
    expect(events.filter((each) => !each.startsWith('freeze'))).toEqual(['guard', 'hook freeze', 'release']);
  });

  it('that another one holds is busy', async () => {
    const { create } = setUp();
    const quiescer = create();
    const freezing = quiescer.freeze('a');
    expect(await failure(quiescer.freeze('b'))).toMatchObject({
      problem: 'busy',
      message: 'a is freezing the file systems',
    });
    expect(await failure(quiescer.thaw('a'))).toMatchObject({ problem: 'busy' });
    await freezing;
    expect(await failure(quiescer.thaw('b'))).toMatchObject({ message: 'a has frozen the file systems' });
  });
});

describe('a freeze that fails runs freeze-fail once, thawed, and leaves nothing behind', () => {
  it.each<[string, Script, Partial<QuiesceError>, string[]]>([
    [
      'no guard',
      { startFails: [true] },
      { problem: 'guard', message: 'no guard' },
      ['hook freeze-fail (freeze-hook)'],
    ],
    [
      'the hook',
      { hook: { kind: 'script', name: 'freeze', reason: 'timed out after 60 s' } },
      { problem: 'hook', message: 'the freeze script failed: timed out after 60 s' },
      ['guard', 'hook freeze', 'release', 'hook freeze-fail (freeze-hook)'],
    ],
    [
      'a directory that cannot be opened',
      { failsToOpen: { '/var': EIO } },
      { problem: 'freeze', message: 'failed to open /var: errno 5' },
      ['guard', 'hook freeze', 'release', 'hook freeze-fail (later)'],
    ],
    [
      'what this run may not do',
      { refuses: true },
      { problem: 'refused', message: 'refused: this run may not' },
      ['guard', 'hook freeze', 'release', 'hook freeze-fail (later)'],
    ],
    [
      'FIFREEZE in the middle',
      { freeze: { '/var': EIO } },
      { problem: 'freeze', message: 'failed to freeze /var: errno 5' },
      ['guard', 'hook freeze', 'freeze /srv', 'freeze /var', 'thaw /srv /var /', 'hook freeze-fail (later)'],
    ],
    [
      'the guard dies in the middle: another one thaws',
      { freeze: { '/var': 'dies' } },
      { problem: 'guard', message: 'the freeze guard has ended' },
      [
        'guard',
        'hook freeze',
        'freeze /srv',
        'freeze /var',
        'guard',
        'thaw /srv /var /',
        'release',
        'hook freeze-fail (later)',
      ],
    ],
    [
      'the other guard does not start at once',
      { freeze: { '/var': 'dies' }, startFails: [false, true] },
      { problem: 'guard' },
      [
        'guard',
        'hook freeze',
        'freeze /srv',
        'freeze /var',
        'guard',
        'thaw /srv /var /',
        'release',
        'hook freeze-fail (later)',
      ],
    ],
    [
      'the time limit passes in the middle',
      { freeze: { '/': 'expires' } },
      { problem: 'guard', message: 'the freeze time limit has passed' },
      ['guard', 'hook freeze', 'freeze /srv', 'freeze /var', 'freeze /', 'hook freeze-fail (later)'],
    ],
    [
      'it fails, and the guard dies while it thaws',
      { freeze: { '/srv': EIO }, thawEnds: ['died', 'thawed'] },
      { problem: 'freeze', message: 'failed to freeze /srv: errno 5' },
      [
        'guard',
        'hook freeze',
        'freeze /srv',
        'thaw /srv /var /',
        'guard',
        'thaw /srv /var /',
        'release',
        'hook freeze-fail (later)',
      ],
    ],
  ])('%s', async (_what, script, expected, expectedEvents) => {
    const { events, gate, create, written } = setUp(script);
    const quiescer = create();
    expect(await failure(quiescer.freeze('a'))).toMatchObject(expected);
    expect(events).toEqual(expectedEvents);
    expect(gate.frozen).toBe(false);
    expect(written()).toBeNull();
    expect(quiescer.status).toMatchObject({ state: 'thawed', notice: null });
    // the host knows: its thaw is an ordinary one
    expect(await quiescer.thaw('a')).toBe(script.refuses ? 0 : MOUNTS.length - (script.failsToOpen ? 1 : 0));
  });
});

describe('thawed without having been asked for', () => {
  it.each<[string, GuardEnd, RegExp, string[]]>([
    ['the time limit', { kind: 'expired', count: 3 }, /by the guard after 60 s: a backup/, []],
    [
      'the guard died',
      { kind: 'died' },
      /since the guard had ended: a backup/,
      ['guard', 'thaw /srv /var /', 'release'],
    ],
  ])('%s: freeze-fail once, and the next thaw is an error', async (_what, end, text, thaws) => {
    const { events, gate, guards, create, written } = setUp();
    const quiescer = create();
    await quiescer.freeze('a');
    events.splice(0);
    guards[0]?.end(end);
    await settle();
    expect(gate.frozen).toBe(false);
    expect(events).toEqual([...thaws, 'hook freeze-fail (later)']);
    expect(quiescer.status.notice).toMatch(text);
    expect(written()).toMatchObject({ owner: 'a', notice: expect.stringMatching(text) });
    // it is not told to others
    expect(await quiescer.thaw('b')).toBe(3);
    expect(await failure(quiescer.thaw('a'))).toMatchObject({
      problem: 'thawed-meanwhile',
      message: expect.stringMatching(text),
    });
    expect(written()).toBeNull();
    expect(await quiescer.thaw('a')).toBe(3);
    expect(events.filter((each) => each.includes('fail'))).toHaveLength(1);
  });

  it('in the very moment of the thaw: that thaw is the error', async () => {
    const { events, create, written } = setUp({ thawEnds: ['expired'] });
    const quiescer = create();
    await quiescer.freeze('a');
    expect(await failure(quiescer.thaw('a'))).toMatchObject({ problem: 'thawed-meanwhile' });
    expect(quiescer.status).toMatchObject({ state: 'thawed', notice: null });
    expect(written()).toBeNull();
    expect(events.slice(-2)).toEqual(['thaw /srv /var /', 'hook freeze-fail (later)']);
  });

  it('by a stop: also one that meets a FIFREEZE that hangs', async () => {
    const { events, gate, create } = setUp({ freeze: { '/var': 'hangs' } });
    const quiescer = create();
    const freeze = failure(quiescer.freeze('a'));
    await settle();
    expect(events.at(-1)).toBe('freeze /var');
    await quiescer.stop();
    expect(await freeze).toMatchObject({ problem: 'stopping' });
    expect(gate.frozen).toBe(false);
    expect(events.slice(-2)).toEqual(['thaw /srv /var /', 'hook freeze-fail (later)']);
    expect(await failure(quiescer.freeze('a'))).toMatchObject({ problem: 'stopping' });
  });
});

describe('after a restart', () => {
  const marker: Marker = { owner: 'a', sinceMs: 1, mountPoints: ['/var', '/'], notice: null };

  it('thaws what the marker names, then runs freeze-fail and keeps the notice', async () => {
    const { events, create, left, written } = setUp({ marker: { kind: 'marker', marker } });
    const found = await left();
    expect(events).toEqual(['guard', 'thaw /var / with the gate open', 'release']);
    const quiescer = create(found);
    expect(quiescer.status.state).toBe('thawing');
    expect(await failure(quiescer.thaw('a'))).toMatchObject({
      problem: 'thawed-meanwhile',
      message:
        'file systems were thawed by the guard when the agent ended: a backup taken meanwhile is not consistent',
    });
    expect(events.slice(3)).toEqual(['hook freeze-fail (later)']);
    expect(written()).toBeNull();
  });

  it('only tells what has had its freeze-fail', async () => {
    const { events, create, left } = setUp({
      marker: { kind: 'marker', marker: { ...marker, notice: 'told' } },
    });
    const quiescer = create(await left());
    expect(quiescer.status).toMatchObject({ state: 'thawed', notice: 'told' });
    expect(await failure(quiescer.thaw('a'))).toMatchObject({ message: 'told' });
    expect(events).toEqual([]);
  });

  it('comes up even if no guard can be had', async () => {
    const { create, left, log } = setUp({
      marker: { kind: 'marker', marker },
      startFails: [true, true, true, true],
    });
    const quiescer = create(await left());
    expect(log.lines).toContainEqual(expect.stringContaining('they may be frozen still'));
    expect(await failure(quiescer.thaw('a'))).toMatchObject({ problem: 'thawed-meanwhile' });
  });

  it('does nothing without a marker', async () => {
    const { events, create, left } = setUp();
    expect(create(await left()).status).toMatchObject({ state: 'thawed', notice: null });
    expect(events).toEqual([]);
  });

  it("asks for every file system after qemu-ga's own marker, which is empty", async () => {
    const { events, create, left } = setUp({ marker: { kind: 'unreadable' } });
    const quiescer = create(await left());
    expect(events[1]).toBe('thaw /srv /var / with the gate open');
    expect(await failure(quiescer.thaw('qemu-ga'))).toMatchObject({ problem: 'thawed-meanwhile' });
  });
});

describe('what is open is checked', () => {
  it('a covered mount point gives way to the next one, or is left out', async () => {
    const mounts = [mount('/a', 1), mount('/b', 1), mount('/c', 2)];
    const { events, create, log } = setUp({ mounts, covered: ['/a', '/c'] });
    expect(await create().freeze('x')).toBe(1);
    expect(events.filter((each) => each.startsWith('freeze'))).toEqual(['freeze /b']);
    expect(log.lines).toContainEqual('warning: /c cannot be frozen: no directory leads to its file system');
  });
});
