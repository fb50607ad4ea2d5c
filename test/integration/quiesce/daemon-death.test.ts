// What the guard is for: the daemon is killed or stopped while file systems are frozen (issue 5 item 2).
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hookRunsIn, startQuiesceAgent, writeHook } from './agent.ts';
import { canMount, hasXfs, isFrozen, LoopMounts, until, Writer } from './loop-mounts.ts';
import { guardsOf, hasHangingThread, isAlive } from './processes.ts';

const FIXTURE = join(import.meta.dirname, 'daemon.fixture.ts');
const LEFT =
  /^file systems were thawed by the guard when the agent ended: a backup taken meanwhile is not consistent$/;

describe.skipIf(!canMount)('a daemon that dies', () => {
  let mounts: LoopMounts;
  let ext4: string;
  let xfs: string;
  let directory: string;
  const daemons: ChildProcess[] = [];

  beforeAll(() => {
    mounts = new LoopMounts();
    ext4 = mounts.add('ext4');
    xfs = mounts.add('xfs', hasXfs ? 'xfs' : 'ext4');
  });
  beforeEach(() => {
    mounts.armWatchdogs();
    directory = mkdtempSync(join(tmpdir(), 'chr-agent-death-'));
  });
  afterEach(() => {
    for (const daemon of daemons.splice(0)) daemon.kill('SIGKILL');
    rmSync(directory, { recursive: true });
    expect(mounts.thawAll()).toBe(false);
  });
  afterAll(() => mounts.remove());

  function startDaemon(timeLimitMs = 0): { daemon: ChildProcess; pid: number; lines: Interface } {
    const daemon = spawn(process.execPath, [FIXTURE, directory, mounts.directory, String(timeLimitMs)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    daemons.push(daemon);
    const { pid, stdout } = daemon;
    if (pid === undefined || stdout === null) throw new Error('the daemon did not start');
    return { daemon, pid, lines: createInterface({ input: stdout }) };
  }

  async function startFrozen(timeLimitMs = 0) {
    const started = startDaemon(timeLimitMs);
    const [said] = await once(started.lines, 'line');
    expect(said).toBe('{"count":2}');
    const [guard = 0] = guardsOf(started.pid);
    return { ...started, guard };
  }

  const restart = () => startQuiesceAgent(mounts.readMounts, {}, directory);

  async function expectTold(): Promise<void> {
    const agent = await restart();
    await until('the hook has run', () => agent.quiescer.status.state === 'thawed');
    expect(hookRunsIn(directory)).toEqual(['freeze', 'freeze-fail']);
    expect(agent.quiescer.status.notice).toMatch(LEFT);
    await agent.quiescer.stop();
    await agent.jobs.close();

    // the next one has not to run the hook again, and still has to tell
    const next = await restart();
    expect(next.quiescer.status).toMatchObject({ state: 'thawed', notice: expect.stringMatching(LEFT) });
    await expect(next.quiescer.thaw('test')).rejects.toThrow(LEFT);
    expect(await next.quiescer.thaw('test')).toBe(0);
    expect(hookRunsIn(directory)).toEqual(['freeze', 'freeze-fail', 'thaw']);
    await next.quiescer.stop();
    await next.jobs.close();
    expect(existsSync(join(directory, 'freeze.state'))).toBe(false);
  }

  it('by SIGKILL: the guard thaws at once, and the next daemon tells', async () => {
    const { daemon, guard } = await startFrozen();
    const writers = [new Writer(ext4), new Writer(xfs)];
    for (const writer of writers) expect(await writer.isHeldUp()).toBe(true);
    daemon.kill('SIGKILL');
    await Promise.all(writers.map(({ done }) => done));
    await until('the guard is gone', () => !isAlive(guard));
    await expectTold();
  });

  it('by SIGKILL while a thread of it hangs in what is frozen: its descriptors stay open, and the guard thaws all the same', async () => {
    const { daemon, pid, guard } = await startFrozen();
    daemon.stdin?.write(`write ${join(ext4, 'held-up')}\n`);
    await until('a thread hangs', () => hasHangingThread(pid));
    daemon.kill('SIGKILL');
    await until('the guard is gone', () => !isAlive(guard));
    for (const each of [ext4, xfs]) expect(await isFrozen(each)).toBe(false);
    await expectTold();
  });

  it('together with its guard: the next daemon thaws', async () => {
    const { daemon, guard } = await startFrozen();
    daemon.kill('SIGSTOP');
    process.kill(guard, 'SIGKILL');
    await until('the guard is gone', () => !isAlive(guard));
    daemon.kill('SIGKILL');
    await once(daemon, 'exit');
    const writers = [new Writer(ext4), new Writer(xfs)];
    for (const writer of writers) expect(await writer.isHeldUp()).toBe(true);
    await expectTold();
    await Promise.all(writers.map(({ done }) => done));
  });

  it('in the freeze hook: nothing is frozen, and the next daemon runs freeze-fail', async () => {
    writeHook(directory, 'freeze', 'sleep 1000');
    const { daemon, pid } = startDaemon();
    await until('the hook runs', () => hookRunsIn(directory).length === 1);
    const [guard = 0] = guardsOf(pid);
    expect(guard).toBeGreaterThan(0);
    daemon.kill('SIGKILL');
    await until('the guard is gone', () => !isAlive(guard));
    expect(await isFrozen(ext4)).toBe(false);
    await expectTold();
  });

  it('is stopped beyond the time limit: the guard thaws, and the daemon tells when it goes on', async () => {
    const { daemon, guard, lines } = await startFrozen(600);
    daemon.kill('SIGSTOP');
    expect(await isFrozen(ext4)).toBe(true);
    await until('the guard is gone', () => !isAlive(guard));
    for (const each of [ext4, xfs]) expect(await isFrozen(each)).toBe(false);
    expect(hookRunsIn(directory)).toEqual(['freeze']);
    daemon.kill('SIGCONT');
    daemon.stdin?.write('thaw\n');
    const [said] = await once(lines, 'line');
    expect(said).toContain('file systems were thawed by the guard after 0.6 s');
    daemon.stdin?.write('thaw\n');
    expect((await once(lines, 'line'))[0]).toBe('{"count":0}');
    expect(hookRunsIn(directory)).toEqual(['freeze', 'freeze-fail', 'thaw']);
    daemon.kill('SIGKILL');
  });

  it('a boot later: nothing is told', async () => {
    const { daemon, guard } = await startFrozen();
    daemon.kill('SIGKILL');
    await until('the guard is gone', () => !isAlive(guard));
    const path = join(directory, 'freeze.state');
    writeFileSync(path, readFileSync(path, 'utf8').replace(/"bootId":"[^"]*"/, '"bootId":"another"'));
    const agent = await restart();
    expect(agent.quiescer.status).toMatchObject({ state: 'thawed', notice: null });
    expect(existsSync(path)).toBe(false);
    await agent.jobs.close();
  });
});
