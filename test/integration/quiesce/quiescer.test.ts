// The quiescer with the real guard on real file systems: issue 5 item 2; spec qemu-ga.md section 5, chr-wiki.txt (quiescing).
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readMounts } from '../../../src/guest/mounts.ts';
import { QuiesceError } from '../../../src/quiesce/errors.ts';
import type { Guard } from '../../../src/quiesce/guard.ts';
import { type QuiesceAgent, startQuiesceAgent } from './agent.ts';
import { canMount, hasXfs, isFrozen, LoopMounts, until, Writer } from './loop-mounts.ts';
import { guardsOf } from './processes.ts';

describe.skipIf(!canMount)('the quiescer', () => {
  let mounts: LoopMounts;
  let ext4: string;
  let second: string;

  beforeAll(() => {
    mounts = new LoopMounts();
    ext4 = mounts.add('first', 'ext4', mounts.directory, 96);
    second = mounts.add('second', hasXfs ? 'xfs' : 'ext4');
  });
  beforeEach(() => mounts.armWatchdogs());
  afterEach(() => expect(mounts.thawAll()).toBe(false));
  afterAll(() => mounts.remove());

  const start = (more: Parameters<typeof startQuiesceAgent>[1] = {}) =>
    startQuiesceAgent(mounts.readMounts, more);

  async function refusal(promise: Promise<unknown>): Promise<QuiesceError> {
    const error = await promise.then(
      (value) => new Error(`not refused, but ${String(value)}`),
      (reason: unknown) => reason,
    );
    if (error instanceof QuiesceError) return error;
    throw error;
  }

  describe('freeze and thaw', () => {
    it('holds up writers and lets them go on', async () => {
      await using agent = await start();
      expect(await agent.quiescer.freeze('test')).toBe(2);
      expect(agent.gate.frozen).toBe(true);
      expect(agent.quiescer.status).toMatchObject({
        state: 'frozen',
        owner: 'test',
        mountPoints: [second, ext4],
        notice: null,
      });
      const writers = [new Writer(ext4), new Writer(second)];
      for (const writer of writers) expect(await writer.isHeldUp()).toBe(true);
      expect(await agent.quiescer.thaw('test')).toBe(2);
      expect(agent.gate.frozen).toBe(false);
      await Promise.all(writers.map(({ done }) => done));
      expect(agent.quiescer.status).toMatchObject({ state: 'thawed', owner: null, mountPoints: [] });
      expect(agent.hookRuns()).toEqual(['freeze', 'thaw']);
      expect(existsSync(join(agent.directory, 'freeze.state'))).toBe(false);
    });

    it('of a list: exact mount points, unknown ones ignored, an empty one freezes nothing', async () => {
      await using agent = await start();
      expect(await agent.quiescer.freeze('test', [])).toBe(0);
      expect(await agent.quiescer.freeze('test', ['/', '/nowhere', `${ext4}/`])).toBe(0);
      expect(agent.quiescer.status.state).toBe('thawed');
      expect(agent.gate.frozen).toBe(false);
      expect(await agent.quiescer.freeze('test', ['/nowhere', ext4, ext4])).toBe(1);
      expect(await isFrozen(ext4)).toBe(true);
      expect(await isFrozen(second)).toBe(false);
      expect(await agent.quiescer.thaw('test')).toBe(1);
      // the hook ran although nothing was frozen: an appliance may have nothing but its hooks
      expect(agent.hookRuns()).toEqual(['freeze', 'freeze', 'freeze', 'thaw']);
    });

    it('a thaw without a freeze thaws what others have frozen, and runs the hook', async () => {
      await using agent = await start();
      expect(await agent.quiescer.thaw('test')).toBe(0);
      execFileSync('fsfreeze', ['-f', ext4]);
      expect(await agent.quiescer.thaw('test')).toBe(1);
      expect(await isFrozen(ext4)).toBe(false);
      expect(agent.hookRuns()).toEqual(['thaw', 'thaw']);
    });

    it('what others have frozen is not counted, and stays so if nothing else is frozen', async () => {
      await using agent = await start();
      execFileSync('fsfreeze', ['-f', ext4]);
      expect(await agent.quiescer.freeze('test', [ext4])).toBe(0);
      expect(agent.quiescer.status.state).toBe('thawed');
      await until('the guard is gone', () => guardsOf(process.pid).length === 0);
      execFileSync('fsfreeze', ['-u', ext4]);
      execFileSync('fsfreeze', ['-f', ext4]);
      expect(await agent.quiescer.freeze('test')).toBe(1);
      expect(agent.quiescer.status.mountPoints).toEqual([second]);
      expect(await agent.quiescer.thaw('test')).toBe(2);
    });

    it('belongs to who began it', async () => {
      await using agent = await start();
      await agent.quiescer.freeze('test', [ext4]);
      expect(await refusal(agent.quiescer.freeze('other'))).toMatchObject({
        problem: 'busy',
        message: 'test has frozen the file systems',
      });
      expect(await refusal(agent.quiescer.freeze('test'))).toMatchObject({ problem: 'busy' });
      expect(await refusal(agent.quiescer.thaw('other'))).toMatchObject({ problem: 'busy' });
      const thaw = agent.quiescer.thaw('test');
      expect(await refusal(agent.quiescer.freeze('other'))).toMatchObject({
        message: 'test is thawing the file systems',
      });
      expect(await thaw).toBe(1);
      expect(await agent.quiescer.freeze('other', [ext4])).toBe(1);
      expect(await agent.quiescer.thaw('other')).toBe(1);
    });

    it('what is not on a loop device is refused in a run without actions', async () => {
      const root = readMounts().filter(({ mountPoint }) => mountPoint === '/');
      await using agent = await startQuiesceAgent(() => [...root, ...mounts.readMounts()]);
      expect(await refusal(agent.quiescer.freeze('test', ['/']))).toMatchObject({ problem: 'refused' });
      expect(agent.hookRuns()).toEqual(['freeze', 'freeze-fail']);
      expect(await agent.quiescer.thaw('test')).toBe(0);
    });

    it('twenty times leaves no descriptor and no process behind', async () => {
      await using agent = await start();
      await agent.quiescer.freeze('test');
      await agent.quiescer.thaw('test');
      await until('the guard is gone', () => guardsOf(process.pid).length === 0);
      const before = openDescriptors();
      for (let round = 0; round < 20; round += 1) {
        expect(await agent.quiescer.freeze('test')).toBe(2);
        expect(await agent.quiescer.thaw('test')).toBe(2);
      }
      await until('the guards are gone', () => guardsOf(process.pid).length === 0);
      await until('no descriptor is left', () => openDescriptors().length <= before.length);
    });
  });

  describe('what stands upon something else', () => {
    it('a loop device is frozen before the file system with its image', async () => {
      const upper = mounts.add('upper', 'ext4', ext4, 16);
      const top = mounts.add('top', 'ext4', upper, 4);
      mounts.armWatchdogs();
      await using agent = await start();
      // dirty pages, which must reach the image through the file systems below
      writeFileSync(join(top, 'data'), Buffer.alloc(1024 * 1024, 1));
      expect(await agent.quiescer.freeze('test')).toBe(4);
      expect(agent.quiescer.status.mountPoints).toEqual([top, upper, second, ext4]);
      for (const each of [top, upper, ext4]) expect(await isFrozen(each)).toBe(true);
      expect(await agent.quiescer.thaw('test')).toBe(4);
      for (const each of [top, upper, ext4]) expect(await isFrozen(each)).toBe(false);
    });

    it('also when it was mounted first', async () => {
      // the lower one is mounted again at another place, so that the mount order is the wrong one
      const moved = mounts.mount('moved', ['--bind', ext4]);
      mounts.armWatchdogs();
      const real = mounts.readMounts();
      const reordered = [
        ...real.filter(({ mountPoint }) => mountPoint !== ext4 && mountPoint !== moved),
        ...real.filter(({ mountPoint }) => mountPoint === moved),
      ];
      await using agent = await startQuiesceAgent(() => reordered);
      expect(await agent.quiescer.freeze('test')).toBe(4);
      const order = agent.quiescer.status.mountPoints.map((each) => each.slice(mounts.directory.length + 1));
      expect(order.indexOf('top')).toBeLessThan(order.indexOf('upper'));
      expect(order.indexOf('upper')).toBeLessThan(order.indexOf('moved'));
      expect(await agent.quiescer.thaw('test')).toBe(4);
    });

    it('a bind mount is the same file system, by whichever mount point it is called', async () => {
      mkdirSync(join(second, 'bound'));
      const bound = mounts.mount('bound', ['--bind', join(second, 'bound')]);
      mounts.armWatchdogs();
      await using agent = await start();
      expect(await agent.quiescer.freeze('test')).toBe(4);
      expect(await agent.quiescer.thaw('test')).toBe(4);
      expect(await agent.quiescer.freeze('test', [bound])).toBe(1);
      expect(await isFrozen(second)).toBe(true);
      expect(await agent.quiescer.thaw('test')).toBe(1);
      expect(await agent.quiescer.freeze('test', [bound, second])).toBe(1);
      expect(await agent.quiescer.thaw('test')).toBe(1);
    });

    it('an overlay is none of its own, and stands still with its upper layer', async () => {
      for (const name of ['lower', 'upper', 'work']) mkdirSync(join(second, name));
      const layers = ['lower', 'upper', 'work'].map((name) => `${name}dir=${join(second, name)}`).join(',');
      const overlay = mounts.mount('overlay', ['-t', 'overlay', '-o', layers, 'overlay']);
      mounts.armWatchdogs();
      await using agent = await start();
      expect(await agent.quiescer.freeze('test', [overlay])).toBe(0);
      expect(await agent.quiescer.freeze('test', [second])).toBe(1);
      expect(await isFrozen(overlay)).toBe(true);
      expect(await agent.quiescer.thaw('test')).toBe(1);
    });

    it('a read-only one is left out; a mount point below another mount is reached by its other one', async () => {
      const readOnly = mounts.add('read-only');
      execFileSync('mount', ['-o', 'remount,ro', readOnly]);
      const hidden = mounts.add('hidden');
      const cover = mounts.add('cover');
      mounts.armWatchdogs();
      execFileSync('mount', ['--bind', cover, hidden]);
      try {
        await using agent = await start();
        expect(await agent.quiescer.freeze('test', [readOnly])).toBe(0);
        expect(await agent.quiescer.freeze('test', [hidden])).toBe(1);
        expect(agent.logLines).toContainEqual(expect.stringContaining(`${hidden} cannot be frozen`));
        expect(agent.quiescer.status.mountPoints).toEqual([hidden]);
        expect(await isFrozen(cover)).toBe(true);
        expect(await agent.quiescer.thaw('test')).toBe(1);
      } finally {
        execFileSync('umount', [hidden]);
      }
    });
  });

  describe('hooks', () => {
    it('none is fine', async () => {
      await using agent = await start();
      execFileSync('rm', ['-r', join(agent.directory, 'hooks')]);
      expect(await agent.quiescer.freeze('test', [ext4])).toBe(1);
      expect(await agent.quiescer.thaw('test')).toBe(1);
    });

    it('a freeze hook that fails aborts, and its output is kept', async () => {
      await using agent = await start();
      agent.setHook('freeze', 'echo no; echo way >&2; exit 3');
      expect(await refusal(agent.quiescer.freeze('test'))).toMatchObject({
        problem: 'hook',
        message: 'the freeze script failed: exit status 3',
      });
      expect(agent.gate.frozen).toBe(false);
      expect(await isFrozen(ext4)).toBe(false);
      expect(agent.hookRuns()).toEqual(['freeze', 'freeze-fail']);
      expect(readFileSync(join(agent.filesDir, 'freeze-script.log'), 'utf8')).toBe('no\nway\n');
      expect(await agent.quiescer.thaw('test')).toBe(0);
    });

    it('the output is replaced by the next failure, and is at most 1 MiB', async () => {
      await using agent = await start();
      agent.setHook('freeze', 'head -c 3000000 /dev/zero; exit 1');
      await refusal(agent.quiescer.freeze('test'));
      const log = join(agent.filesDir, 'freeze-script.log');
      expect(readFileSync(log).length).toBe(1024 * 1024);
      agent.setHook('freeze', 'echo short; exit 1');
      await refusal(agent.quiescer.freeze('test'));
      expect(readFileSync(log, 'utf8')).toBe('short\n');
      agent.setHook('freeze', 'echo fine');
      await agent.quiescer.freeze('test', []);
      expect(readFileSync(log, 'utf8')).toBe('short\n');
    });

    it('one that takes too long is ended with all that it started', async () => {
      await using agent = await start({ hookTimeLimitMs: 200 });
      agent.setHook('freeze', `echo $$ > ${join(agent.directory, 'pid')}; sleep 1000 & wait`);
      expect(await refusal(agent.quiescer.freeze('test'))).toMatchObject({
        message: 'the freeze script failed: timed out after 0.2 s',
      });
      expect(agent.hookRuns()).toEqual(['freeze', 'freeze-fail']);
      const pid = readFileSync(join(agent.directory, 'pid'), 'utf8').trim();
      expect(existsSync(`/proc/${pid}`)).toBe(false);
    });

    it('a thaw hook that fails is an error although all is thawed', async () => {
      await using agent = await start();
      agent.setHook('thaw', 'exit 4');
      await agent.quiescer.freeze('test', [ext4]);
      expect(await refusal(agent.quiescer.thaw('test'))).toMatchObject({
        message: 'the thaw script failed: exit status 4',
      });
      expect(await isFrozen(ext4)).toBe(false);
      expect(agent.hookRuns()).toEqual(['freeze', 'thaw']);
      expect(agent.quiescer.status.state).toBe('thawed');
    });

    it('the guard is up before the hook runs', async () => {
      let guard: Guard | null = null;
      await using agent = await start({
        onGuard: (started) => {
          guard = started;
          expect(agent.hookRuns()).toEqual([]);
        },
      });
      await agent.quiescer.freeze('test', [ext4]);
      expect(guard).not.toBeNull();
      await agent.quiescer.thaw('test');
    });
  });

  describe('thawed by the guard', () => {
    async function expectNotice(agent: QuiesceAgent, text: RegExp): Promise<void> {
      await until('the hook has run', () => agent.quiescer.status.state === 'thawed');
      expect(agent.gate.frozen).toBe(false);
      expect(await isFrozen(ext4)).toBe(false);
      expect(agent.hookRuns()).toEqual(['freeze', 'freeze-fail']);
      expect(agent.quiescer.status.notice).toMatch(text);
      expect(await refusal(agent.quiescer.thaw('test'))).toMatchObject({
        problem: 'thawed-meanwhile',
        message: expect.stringMatching(text),
      });
      expect(agent.quiescer.status.notice).toBeNull();
      expect(existsSync(join(agent.directory, 'freeze.state'))).toBe(false);
      expect(await agent.quiescer.thaw('test')).toBe(0);
      expect(agent.hookRuns()).toEqual(['freeze', 'freeze-fail', 'thaw']);
    }

    it('when the time limit passes', async () => {
      await using agent = await start({ timeLimitMs: 2_000 });
      expect(await agent.quiescer.freeze('test', [ext4])).toBe(1);
      await until('the notice', () => agent.quiescer.status.notice !== null);
      await expectNotice(
        agent,
        /^file systems were thawed by the guard after 2 s: a backup taken meanwhile is not/,
      );
    });

    it('the limit does not count the hook', async () => {
      await using agent = await start({ timeLimitMs: 2_000 });
      agent.setHook('freeze', 'sleep 2.5');
      expect(await agent.quiescer.freeze('test', [ext4])).toBe(1);
      expect(await agent.quiescer.thaw('test')).toBe(1);
    });

    it('a thaw that comes while the freeze-fail hook runs waits for it, and is the error', async () => {
      await using agent = await start({ timeLimitMs: 2_000 });
      agent.setHook('freeze-fail', 'sleep 0.5');
      await agent.quiescer.freeze('test', [ext4]);
      await until('the notice', () => agent.quiescer.status.notice !== null);
      expect(await refusal(agent.quiescer.thaw('test'))).toMatchObject({ problem: 'thawed-meanwhile' });
      expect(agent.hookRuns()).toEqual(['freeze', 'freeze-fail']);
    });

    it('when the guard is killed, by another one', async () => {
      await using agent = await start();
      expect(await agent.quiescer.freeze('test', [ext4])).toBe(1);
      const [guard = 0] = guardsOf(process.pid);
      process.kill(guard, 'SIGKILL');
      await until('the notice', () => agent.quiescer.status.notice !== null);
      await expectNotice(agent, /^file systems were thawed since the guard had ended/);
    });

    it('when the agent stops', async () => {
      await using agent = await start();
      await agent.quiescer.freeze('test', [ext4]);
      await agent.quiescer.stop();
      expect(await refusal(agent.quiescer.freeze('test'))).toMatchObject({ problem: 'stopping' });
      await expectNotice(agent, /^file systems were thawed when the agent was stopped/);
    });

    it('a new freeze forgets it', async () => {
      await using agent = await start({ timeLimitMs: 2_000 });
      await agent.quiescer.freeze('test', [ext4]);
      await until(
        'it is told',
        () => agent.quiescer.status.notice !== null && agent.quiescer.status.state === 'thawed',
      );
      expect(await agent.quiescer.freeze('test', [ext4])).toBe(1);
      expect(await agent.quiescer.thaw('test')).toBe(1);
    });

    it('signals that end daemons do not touch the guard', async () => {
      await using agent = await start();
      await agent.quiescer.freeze('test', [ext4]);
      const [guard = 0] = guardsOf(process.pid);
      for (const name of ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTSTP'] as const) {
        process.kill(guard, name);
      }
      // the one that the kernel sends at the daemon's death, from somebody else
      execFileSync('kill', ['-USR1', String(guard)]);
      expect(await isFrozen(ext4)).toBe(true);
      expect(await agent.quiescer.thaw('test')).toBe(1);
    });
  });

  it('a stop in the freeze hook ends the hook, and nothing is frozen', async () => {
    await using agent = await start();
    agent.setHook('freeze', 'sleep 1000');
    const freeze = refusal(agent.quiescer.freeze('test'));
    await until('the hook runs', () => agent.hookRuns().length === 1);
    await agent.quiescer.stop();
    expect(await freeze).toMatchObject({ problem: 'stopping' });
    expect(agent.hookRuns()).toEqual(['freeze', 'freeze-fail']);
  });

  it('scripts, their journal and their output wait for the thaw', async () => {
    await using agent = await start();
    await agent.quiescer.freeze('test', [ext4]);
    let started = false;
    const job = agent.jobs
      .start({
        origin: 'test',
        source: { kind: 'text', text: Buffer.from('echo hello') },
        timeLimitMs: 5_000,
        captureOutput: true,
      })
      .finally(() => {
        started = true;
      });
    expect(await isFrozen(ext4)).toBe(true);
    expect(started).toBe(false);
    await agent.quiescer.thaw('test');
    expect(await (await job).finished).toEqual({ kind: 'success' });
  });
});

function openDescriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}
