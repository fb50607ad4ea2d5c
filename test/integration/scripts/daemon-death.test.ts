/** A script does not outlive the daemon, and after a restart the daemon knows what became of it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isAlive, openEngine, textRequest, until } from './engine.ts';

const fixture = join(import.meta.dirname, 'daemon.fixture.ts');

describe('SIGKILL of the daemon', () => {
  it('ends the scripts and all that they started; the next daemon says so', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'chr-agent-death-'));
    try {
      const texts = [
        `trap "" TERM
        (setsid sh -c 'trap "" TERM HUP; (sleep 1000 & echo $! $$ > pids.new; wait) & wait' &)
        while [ ! -s pids.new ]; do sleep 0.01; done
        mv pids.new pids
        while :; do sleep 1000; done`,
        'exit 4',
      ];
      const daemon = spawn(process.execPath, [fixture, directory, ...texts], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [line] = (await once(daemon.stdout, 'data')) as [Buffer];
      const [pid = 0, endedPid = 0] = JSON.parse(line.toString()) as number[];
      const pidsFile = join(directory, 'files/pids');
      const journal = join(directory, 'state/jobs.journal');
      await until('the tree is there', () => existsSync(pidsFile));
      await until('the other one is over', () => readFileSync(journal, 'utf8').includes('exitCode'));
      const tree = [pid, ...readFileSync(pidsFile, 'utf8').trim().split(' ').map(Number)];
      expect(tree.length).toBe(3);
      expect(tree.every((member) => isAlive(member))).toBe(true);
      expect(readdirSync(join(directory, 'run')).length).toBe(1);

      daemon.kill('SIGKILL');
      await once(daemon, 'exit');
      await until('nothing of it is left', () => !tree.some((member) => isAlive(member)));

      await using next = await openEngine({}, directory);
      expect(next.engine.get(pid)?.status).toMatchObject({ state: 'finished', outcome: { kind: 'lost' } });
      expect(next.engine.get(endedPid)?.status).toMatchObject({ outcome: { kind: 'failed', exitCode: 4 } });
      expect(readdirSync(next.runtimeDir)).toEqual([]);
      for (const job of next.engine.list()) next.engine.forget(job);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

describe('SIGKILL of the helper', () => {
  it('ends the script and its process group, and counts as killed', async () => {
    await using test = await openEngine();
    const job = await test.engine.start(textRequest('sleep 1000 & echo $PPID $!; wait'));
    await until('output', () => job.output.sizeBytes > 0);
    const buffer = Buffer.alloc(20);
    const text = buffer.toString('latin1', 0, await job.output.read(buffer, 0, 20, 0));
    const [helper = 0, child = 0] = text.trim().split(' ').map(Number);
    process.kill(helper, 'SIGKILL');
    expect(await job.finished).toEqual({ kind: 'killed', signal: 9 });
    await until('the script is gone', () => !isAlive(job.pid, false) && !isAlive(child, false));
  });
});
