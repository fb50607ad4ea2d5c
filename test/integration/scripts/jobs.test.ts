/** Real scripts under the real helper: issue "Script engine", design.md "Script semantics". */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  bytesOf,
  children,
  fileRequest,
  isAlive,
  openDescriptors,
  openEngine,
  pause,
  refusal,
  type TestEngine,
  textOf,
  textRequest,
  until,
} from './engine.ts';

const { ENOENT, EACCES, EISDIR, ENOEXEC, ECANCELED } = constants.errno;

let test: TestEngine;
beforeAll(async () => {
  test = await openEngine();
});
afterAll(async () => {
  await test[Symbol.asyncDispose]();
  await until('no child is left', () => children().length === 0);
});

/** The numbers that a script wrote to a file in its directory. */
const pidsIn = (name: string): number[] =>
  readFileSync(join(test.filesDir, name), 'utf8').trim().split(/\s+/).map(Number);

describe('the end of a script', () => {
  it.each([
    ['exit 0', { kind: 'success' }],
    ['', { kind: 'success' }],
    ['exit 1', { kind: 'failed', exitCode: 1 }],
    ['exit 255', { kind: 'failed', exitCode: 255 }],
    ['kill -9 $$', { kind: 'killed', signal: 9 }],
    ['kill -TERM $$', { kind: 'killed', signal: 15 }],
    ['kill -HUP $$', { kind: 'killed', signal: 1 }],
  ])('%j', async (text, outcome) => {
    const job = await test.run(text);
    expect(job.status).toMatchObject({ state: 'finished', outcome });
    expect(test.engine.get(job.pid)).toBe(job);
    test.engine.forget(job);
    expect(test.engine.get(job.pid)).toBeUndefined();
  });

  it('a background process may go on, and does not delay it', async () => {
    const job = await test.run('sleep 100 & echo $!');
    const pid = Number(await textOf(job.output));
    expect(isAlive(pid)).toBe(true);
    process.kill(pid, 'SIGKILL');
  });

  it('a background process that writes without end does not delay it', async () => {
    const job = await test.run('yes & echo $! > yes.pid; sleep 0.1');
    expect(job.status).toMatchObject({ outcome: { kind: 'success' } });
    await until('yes ended by its closed pipe', () => pidsIn('yes.pid').every((pid) => !isAlive(pid)));
    test.engine.forget(job);
  });
});

describe('the output', () => {
  it('has both streams in the order in which they were written', async () => {
    const job = await test.run('for i in 1 2 3; do echo o$i; echo e$i >&2; done');
    expect(await textOf(job.output)).toBe('o1\ne1\no2\ne2\no3\ne3\n');
  });

  it('is complete when the job is finished, also from a failed script', async () => {
    for (let times = 0; times < 10; times += 1) {
      const job = await test.run('head -c 60000 /dev/zero; exit 9');
      expect(job.output.sizeBytes).toBe(60_000);
      test.engine.forget(job);
    }
  });

  it('can be read while the script runs', async () => {
    const job = await test.engine.start(textRequest('echo now; sleep 100'));
    await until('output', () => job.output.sizeBytes === 4);
    expect(await textOf(job.output)).toBe('now\n');
    expect(job.status).toEqual({ state: 'running' });
    await job.kill();
    expect(job.status).toMatchObject({ outcome: { kind: 'killed', signal: 15 } });
  });

  it('blocks the writer of a full pipe, and gives it no error', async () => {
    const job = await test.run('dd if=/dev/zero bs=1000000 count=3 2>/dev/null; echo $?');
    expect(job.output.sizeBytes).toBe(3_000_002);
    expect((await bytesOf(job.output)).subarray(3_000_000).toString()).toBe('0\n');
    test.engine.forget(job);
  });

  it('is truncated at 16 MiB, and the script goes on', async () => {
    const job = await test.run('head -c 16777216 /dev/zero; touch went-on');
    expect([job.output.sizeBytes, job.output.truncated]).toEqual([16_777_216, false]);
    const longer = await test.run('head -c 20000000 /dev/zero | tr "\\0" x; touch went-on');
    expect([longer.output.sizeBytes, longer.output.truncated]).toEqual([16_777_216, true]);
    expect((await bytesOf(longer.output)).every((byte) => byte === 0x78)).toBe(true);
    expect(existsSync(join(test.filesDir, 'went-on'))).toBe(true);
    expect(test.engine.usage.spilledBytes).toBeGreaterThan(30_000_000);
    expect(readdirSync(join(test.directory, 'spill'))).toEqual([]);
    test.engine.forget(job);
    test.engine.forget(longer);
    expect(test.engine.usage.spilledBytes).toBe(0);
  });

  it('goes to /dev/null if it is not captured', async () => {
    const job = await test.engine.start({
      ...textRequest('[ "$(readlink /proc/$$/fd/1)" = /dev/null ] && head -c 1000000 /dev/zero'),
      captureOutput: false,
    });
    expect(await job.finished).toEqual({ kind: 'success' });
    expect(job.output.sizeBytes).toBe(0);
  });
});

describe('what a script finds', () => {
  it('exactly this environment, directory, stdin and descriptors', async () => {
    // no pipelines: the shell would hold their ends open while they start
    const job = await test.run(
      'cat; pwd; readlink /proc/$$/fd/0; grep -E "^Sig(Blk|Ign)" /proc/$$/status; ls /proc/$$/fd; echo; cat /proc/$$/environ',
    );
    const [lines = '', environment = ''] = (await textOf(job.output)).split('\n\n');
    expect(lines.split('\n')).toEqual([
      test.filesDir,
      '/dev/null',
      'SigBlk:\t0000000000000000',
      'SigIgn:\t0000000000000000',
      '0',
      '1',
      // where this shell keeps the script that it reads
      '10',
      '2',
    ]);
    expect(environment.split('\0').sort()).toEqual([
      '',
      expect.stringMatching(/^CHR_AGENT_JOB=[0-9a-f]+-[0-9a-f]+$/),
      'CHR_AGENT_ORIGIN=test',
      'HOME=/root',
      'LANG=C.UTF-8',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ]);
  });

  it('a session of its own, whose leader has the pid of the job', async () => {
    const job = await test.run('cut -d " " -f 1,5,6 /proc/$$/stat');
    expect(await textOf(job.output)).toBe(`${job.pid} ${job.pid} ${job.pid}\n`);
  });
});

describe('a script text', () => {
  it('lies in a file that only root can read, until the job has ended', async () => {
    const job = await test.engine.start(textRequest('stat -c "%a %s %n" "$0"; sleep 100'));
    await until('output', () => job.output.sizeBytes > 0);
    const [mode, , path] = (await textOf(job.output)).trim().split(' ');
    expect(mode).toBe('600');
    expect(path).toMatch(new RegExp(`^${test.runtimeDir}/script-`));
    expect(statSync(test.runtimeDir).mode & 0o777).toBe(0o711);
    await job.kill();
    await until('the file is removed', () => readdirSync(test.runtimeDir).length === 0);
  });

  it('is run by what its #! line names', async () => {
    expect(await textOf((await test.run('#!/bin/cat\nhello\n')).output)).toBe('#!/bin/cat\nhello\n');
    const awk = await test.run('#!/usr/bin/awk -f\nBEGIN { print 6 * 7 }\n');
    expect(await textOf(awk.output)).toBe('42\n');
    const two = await test.run('#!/bin/sh -e -x\n');
    expect(two.status).toMatchObject({ outcome: { kind: 'failed' } });
  });

  it('is refused if that cannot be run, and leaves nothing', async () => {
    await until('earlier helpers are gone', () => children().length === 0);
    const descriptors = openDescriptors();
    expect(await refusal(test.engine.start(textRequest('#!/no/such/interpreter\n')))).toBe(ENOENT);
    expect(await refusal(test.engine.start(textRequest('#!/etc/passwd\n')))).toBe(EACCES);
    expect(await refusal(test.engine.start(textRequest('#!\n')))).toBe(ENOEXEC);
    await until('no file is left', () => readdirSync(test.runtimeDir).length === 0);
    await until('no helper is left', () => children().length === 0);
    await until('all files are closed', () => openDescriptors() <= descriptors);
  });

  it('may hold any bytes', async () => {
    const text = Buffer.from([...Buffer.from('cat "$0" | od -An -tx1 | tail -n 1; exit\n'), 0, 255, 254, 10]);
    const job = await test.engine.start({ ...textRequest(''), source: { kind: 'text', text } });
    await job.finished;
    expect(await textOf(job.output)).toMatch(/00 ff fe 0a\n$/);
  });
});

describe('a script file', () => {
  const file = (name: string, text: string, mode: number): void => {
    writeFileSync(join(test.filesDir, name), text);
    chmodSync(join(test.filesDir, name), mode);
  };
  const output = async (path: string): Promise<string> => {
    const job = await test.engine.start(fileRequest(path));
    await job.finished;
    return textOf(job.output);
  };

  it('is executed as it is with #!, and by the interpreter otherwise', async () => {
    file('awk.sh', '#!/usr/bin/awk -f\nBEGIN { print "by awk" }\n', 0o755);
    file('not-executable.sh', '#!/usr/bin/awk -f\necho by sh\n', 0o644);
    file('plain.sh', 'echo by sh', 0o755);
    mkdirSync(join(test.filesDir, 'sub'));
    file('sub/x.sh', 'echo $0', 0o644);
    expect(await output('awk.sh')).toBe('by awk\n');
    expect(await output('not-executable.sh')).toBe('by sh\n');
    expect(await output('plain.sh')).toBe('by sh\n');
    expect(await output('sub/../sub/x.sh')).toBe(`${test.filesDir}/sub/x.sh\n`);
    expect(await output(join(test.filesDir, 'plain.sh'))).toBe('by sh\n');
    expect(await output('/bin/pwd')).toBe(`${test.filesDir}\n`);
  });

  it('is refused before anything starts if it is not there, not a file, or outside', async () => {
    symlinkSync('/bin/true', join(test.filesDir, 'link-out'));
    const start = (path: string) => refusal(test.engine.start(fileRequest(path)));
    expect(await start('missing.sh')).toBe(ENOENT);
    expect(await start('/missing.sh')).toBe(ENOENT);
    expect(await start('/tmp')).toBe(EISDIR);
    expect(await start('../../bin/true')).toBe(EACCES);
    expect(await start('link-out')).toBe(EACCES);
    file('bad-interpreter.sh', '#!/no/such/interpreter\n', 0o755);
    expect(await start('bad-interpreter.sh')).toBe(ENOENT);
  });
});

describe('the time limit', () => {
  it('ends every descendant, also after setsid and a double fork, and leaves no zombie', async () => {
    const job = await test.engine.start(
      textRequest(
        `echo before
        trap "" TERM
        sleep 1000 & echo $! > tree.pids
        setsid sh -c 'sleep 1000 & echo $$ $! >> tree.pids; wait' &
        (setsid sh -c 'trap "" TERM HUP; (while :; do sleep 1000; done) & echo $$ $! >> tree.pids; wait' &)
        while :; do sleep 1000; done`,
        400,
      ),
    );
    await until(
      'all are there',
      () => existsSync(join(test.filesDir, 'tree.pids')) && pidsIn('tree.pids').length === 5,
    );
    const pids = [job.pid, ...pidsIn('tree.pids')];
    expect(pids.every((pid) => isAlive(pid))).toBe(true);
    expect(await job.finished).toEqual({ kind: 'timed-out' });
    expect(pids.filter((pid) => isAlive(pid))).toEqual([]);
    expect(await textOf(job.output)).toBe('before\n');
    await until('the helper is gone', () => children().length === 0);
  });

  it('gives a script the time to clean up', async () => {
    const job = await test.run('trap "echo bye; exit 0" TERM; while :; do sleep 0.01; done', 100);
    expect(job.status).toMatchObject({ outcome: { kind: 'timed-out' } });
    expect(await textOf(job.output)).toMatch(/bye\n$/);
  });

  it('also holds for a stopped script', async () => {
    expect((await test.run('kill -STOP $$', 100)).status).toMatchObject({ outcome: { kind: 'timed-out' } });
  });

  it('0 is none', async () => {
    expect((await test.run('sleep 0.2', 0)).status).toMatchObject({ outcome: { kind: 'success' } });
  });
});

describe('many jobs', () => {
  it('200 at once lose no output and leak no descriptor', async () => {
    await until('earlier helpers are gone', () => children().length === 0);
    const descriptors = openDescriptors();
    const jobs = await Promise.all(
      Array.from({ length: 200 }, (_, at) =>
        test.engine.start(textRequest(`head -c 102395 /dev/zero | tr "\\0" a; printf %05d ${at}`)),
      ),
    );
    let mostBytes = 0;
    const watch = setInterval(() => {
      mostBytes = Math.max(mostBytes, test.engine.usage.memoryBytes);
    }, 5);
    const outcomes = await Promise.all(jobs.map((job) => job.finished));
    clearInterval(watch);
    expect(outcomes.filter(({ kind }) => kind !== 'success')).toEqual([]);
    expect(Math.max(mostBytes, test.engine.usage.memoryBytes)).toBeLessThan(16 * 1024 * 1024);
    for (const [at, job] of jobs.entries()) {
      const expected = Buffer.alloc(102_400, 'a');
      expected.write(String(at).padStart(5, '0'), 102_395);
      expect((await bytesOf(job.output)).equals(expected)).toBe(true);
      test.engine.forget(job);
    }
    await until('all helpers are gone', () => children().length === 0);
    await until('all files are closed', () => openDescriptors() <= descriptors);
    expect(test.engine.usage).toEqual({ memoryBytes: expect.any(Number), spilledBytes: 0 });
    await until('no text is left', () => readdirSync(test.runtimeDir).length === 0);
  });

  it('keeps so many finished ones, and drops the oldest', async () => {
    await using other = await openEngine({ maxFinished: 3 });
    const jobs = [];
    for (let times = 0; times < 5; times += 1) jobs.push(await other.run('echo x'));
    expect(other.engine.list()).toEqual(jobs.slice(2));
    expect(jobs[0]?.output.sizeBytes).toBe(0);
  });
});

describe('frozen file systems', () => {
  it('a start waits for the thaw, a running script is finished meanwhile', async () => {
    await using other = await openEngine();
    const running = await other.engine.start(textRequest('sleep 0.1'));
    other.gate.shut();
    let started = false;
    const late = other.run('echo late').then((job) => {
      started = true;
      return job;
    });
    await running.finished;
    await pause(20);
    expect(started).toBe(false);
    other.gate.open();
    expect(await textOf((await late).output)).toBe('late\n');
  });
});

describe('draining', () => {
  it('refuses new jobs, waits, then ends what is left', async () => {
    await using other = await openEngine();
    const short = await other.engine.start(textRequest('sleep 0.2; echo end'));
    const long = await other.engine.start(textRequest('setsid sleep 1000 & echo $!; sleep 1000'));
    await until('it runs', () => long.output.sizeBytes > 0);
    const grandchild = Number(await textOf(long.output));
    const drained = other.engine.drain(700);
    expect(await refusal(other.engine.start(textRequest('')))).toBe(ECANCELED);
    await drained;
    expect(short.status).toMatchObject({ outcome: { kind: 'success' } });
    expect(long.status).toMatchObject({ outcome: { kind: 'killed', signal: 15 } });
    expect(isAlive(grandchild)).toBe(false);
  });
});
