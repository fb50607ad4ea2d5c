/** The helper's cgroup2 part, with a cgroup2 mount of the test's own in a private mount namespace. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { helperPath } from '../../../src/native/index.ts';
import { isAlive, openEngine, type TestEngine, textOf, textRequest, until } from './engine.ts';

const directory = mkdtempSync(join(tmpdir(), 'chr-agent-cgroup-'));
const mount = join(directory, 'mount');
const group = join(mount, `chr-agent-test-${process.pid}`);
const inNamespace = `mount -t cgroup2 none ${mount}`;
mkdirSync(mount);

/** Runs a command where cgroup2 is mounted. */
const shell = (command: string): string =>
  execFileSync('unshare', ['-m', 'sh', '-c', `${inNamespace} && ${command}`], { encoding: 'utf8' });

function canMount(): boolean {
  try {
    shell(`mkdir ${group}`);
    return true;
  } catch {
    return false;
  }
}

describe.runIf(canMount())('with cgroup2', () => {
  let test: TestEngine;
  beforeAll(async () => {
    const wrapper = join(directory, 'helper');
    const command = `${inNamespace} && exec ${helperPath} "$@"`;
    writeFileSync(wrapper, `#!/bin/sh\nexec unshare -m sh -c '${command}' helper "$@"\n`, { mode: 0o755 });
    test = await openEngine({ helperPath: wrapper, cgroup: group });
  });
  afterAll(async () => {
    await test[Symbol.asyncDispose]();
    shell(`rmdir ${group}`);
    rmSync(directory, { recursive: true });
  });
  const groups = (): string => shell(`cd ${group} && ls -d job-* 2>/dev/null; true`);

  it('a script is in a group of its own, which goes with it', async () => {
    const job = await test.run('grep ^0:: /proc/self/cgroup');
    expect(await textOf(job.output)).toMatch(/^0::.*\/chr-agent-test-\d+\/job-\d+\n$/);
    await until('the group is removed', () => groups() === '');
  });

  it('all that is in it ends at the time limit', async () => {
    const job = await test.engine.start(textRequest('trap "" TERM; setsid sleep 1000 & echo $!; wait', 300));
    await until('output', () => job.output.sizeBytes > 0);
    const grandchild = Number(await textOf(job.output));
    expect(await job.finished).toEqual({ kind: 'timed-out' });
    expect(isAlive(grandchild)).toBe(false);
    await until('the group is removed', () => groups() === '');
  });

  it('what goes on in the background is handed to the parent group', async () => {
    const job = await test.run('setsid sleep 1000 > /dev/null 2>&1 & echo $!');
    const pid = Number(await textOf(job.output));
    await until('the group is removed', () => groups() === '');
    expect(shell(`cat ${group}/cgroup.procs`)).toBe(`${pid}\n`);
    process.kill(pid, 'SIGKILL');
    await until('it is gone', () => !isAlive(pid));
  });
});
