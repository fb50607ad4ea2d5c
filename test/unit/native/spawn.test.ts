/** spawn and pidfds with real processes. */
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type ExitStatus, native, type SpawnOptions } from '../../../src/native/index.ts';
import { exitOf, readAll, until } from './settle.ts';

const { errno, signals } = constants;
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'spawn-')));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string, mode: number): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

const shell = (script: string, more: Partial<SpawnOptions> = {}): SpawnOptions => ({
  candidates: ['/bin/sh'],
  argv: ['sh', '-c', script],
  env: [],
  cwd: null,
  fds: [0, 1, 2],
  newSession: false,
  ...more,
});

/** Runs to the end with stdout and stderr in one pipe. */
async function run(options: SpawnOptions): Promise<{ output: string; status: ExitStatus; pid: number }> {
  const [reader, writer] = native.pipe();
  const child = native.spawn({ ...options, fds: [0, writer, writer, ...options.fds.slice(3)] });
  native.close(writer);
  expect(child.pid).toBeGreaterThan(0);
  const [output, status] = await Promise.all([readAll(reader), exitOf(child.pidfd)]);
  return { output, status, pid: child.pid };
}

const start = (candidates: string[], more: Partial<SpawnOptions> = {}) =>
  native.spawn({ ...shell(''), candidates, ...more });

describe('spawn', () => {
  it('passes the arguments and exactly the environment given', async () => {
    const options = shell('', {
      candidates: ['/usr/bin/env'],
      argv: ['anything', '-0'],
      env: ['A=1', 'B=two words', 'C=é\n', 'noequals'],
    });
    expect((await run(options)).output).toBe('A=1\0B=two words\0C=\xc3\xa9\n\0noequals\0');
    const echo = shell('', { argv: ['sh', '-c', 'printf "[%s]" "$0" "$@"', 'zero', '', 'a b', '*'] });
    expect((await run(echo)).output).toBe('[zero][][a b][*]');
  });

  it('copes with a large environment and many arguments', async () => {
    const many = Array.from({ length: 3000 }, (_, index) => `argument number ${index}`);
    const options = shell('', {
      argv: ['sh', '-c', 'echo $#', 'sh', ...many],
      env: [`BIG=${'x'.repeat(100_000)}`],
    });
    expect((await run(options)).output).toBe('3000\n');
    expect(native.spawn(shell('', { env: [`BIG=${'x'.repeat(1_000_000)}`] })).pid).toBe(-errno.E2BIG);
  });

  it('changes to the directory, or stays', async () => {
    expect((await run(shell('pwd', { cwd: folder }))).output).toBe(`${folder}\n`);
    expect((await run(shell('pwd -P'))).output).toBe(`${realpathSync(process.cwd())}\n`);
    expect(native.spawn(shell('', { cwd: join(folder, 'missing') }))).toEqual({
      pid: -errno.ENOENT,
      pidfd: -1,
    });
  });

  it('closes all descriptors but those given', async () => {
    const kept = native.pipe();
    expect(
      (await run(shell('echo /proc/self/fd/* | wc -w; ls -l /proc/$$/fd | grep -c pipe'))).output,
    ).toMatch(/\n2\n$/);
    const listed = await run(shell('ls /proc/$$/fd | tr "\\n" " "', { fds: [0, 1, 2, kept[0], kept[1]] }));
    expect(listed.output).toBe('0 1 2 3 4 ');
    for (const fd of kept) native.close(fd);
  });

  it('moves descriptors that stand in each other’s way', async () => {
    const [reader, writer] = native.pipe();
    const [otherReader, otherWriter] = native.pipe();
    // 0 gets the agent's 2, 1 a pipe, 2 the agent's 0, and some twice
    const child = native.spawn(
      shell('echo to one; echo to three >&3; echo to four >&4; readlink /proc/self/fd/0 /proc/self/fd/2', {
        fds: [2, writer, 0, otherWriter, otherWriter],
      }),
    );
    native.close(writer);
    native.close(otherWriter);
    const expected = [2, 0].map((fd) => readlinkSync(`/proc/self/fd/${fd}`)).join('\n');
    const [one, other] = await Promise.all([readAll(reader), readAll(otherReader), exitOf(child.pidfd)]);
    expect(one).toBe(`to one\n${expected}\n`);
    expect(other).toBe('to three\nto four\n');
    expect(native.spawn(shell('', { fds: [0, 1, 12345] })).pid).toBe(-errno.EBADF);
    expect(native.spawn(shell('', { fds: [-1] })).pid).toBe(-errno.EBADF);
  });

  it('gives the child a stdout that blocks', async () => {
    const output = (await run(shell('head -c 300000 /dev/zero | tr "\\0" x; grep flags /proc/self/fdinfo/1')))
      .output;
    expect(output.slice(0, 300_000)).toBe('x'.repeat(300_000));
    expect(output.slice(300_000)).toBe('flags:\t01\n');
  });

  it('gives the child default signals and an empty mask', async () => {
    // Node.js itself ignores SIGPIPE
    expect(readFileSync('/proc/self/status', 'latin1')).toMatch(/^SigIgn:.*1...$/m);
    const { output } = await run(
      shell('', { candidates: ['/bin/grep'], argv: ['grep', '^Sig[BI]', '/proc/self/status'] }),
    );
    expect(output).toMatch(/^SigBlk:\s+0+\nSigIgn:\s+0+\n$/);
  });

  it('starts a session only when told to', async () => {
    const session = async (newSession: boolean) => {
      const { output, pid } = await run(shell('cut -d " " -f 5,6 /proc/$$/stat', { newSession }));
      return { ids: output.trim().split(' ').map(Number), pid };
    };
    const own = await session(true);
    expect(own.ids).toEqual([own.pid, own.pid]);
    const shared = await session(false);
    expect(shared.ids).not.toContain(shared.pid);
  });

  it('tries the candidates in order', async () => {
    const plain = file('not-executable', '#!/bin/sh\necho wrong\n', 0o644);
    const candidates = [join(folder, 'missing'), join(plain, 'below-a-file'), plain, '/bin/sh', '/bin/false'];
    expect((await run(shell('echo right', { candidates }))).output).toBe('right\n');
  });

  it.each([
    ['ENOENT', ['/nonexistent/a']],
    ['ENOENT', []],
    ['EACCES', ['not-executable', '/nonexistent/a']],
    ['EACCES', ['/nonexistent/a', '/']],
    ['ENOTDIR', ['not-executable/x']],
    ['ELOOP', ['loop', '/bin/true']],
  ] as const)('says %s for %j', (name, names) => {
    file('not-executable', '', 0o644);
    if (name === 'ELOOP') symlinkSync('loop', join(folder, 'loop'));
    const candidates = names.map((path) => (path.startsWith('/') ? path : join(folder, path)));
    expect(start(candidates)).toEqual({ pid: -errno[name], pidfd: -1 });
  });

  it('gives a script without #! to the shell', async () => {
    const path = file('script', 'printf "%s|" "$0" "$@"', 0o755);
    expect((await run(shell('', { candidates: [path], argv: ['name', 'a', 'b c'] }))).output).toBe(
      `${path}|a|b c|`,
    );
    expect((await run(shell('', { candidates: [path], argv: [] }))).output).toBe(`${path}|`);
  });

  it('leaks no descriptor and no zombie in 300 starts', () => {
    const before = readdirSync('/proc/self/fd').length;
    for (let count = 0; count < 300; count++) {
      const wrong = count % 3 === 0;
      const child = start([wrong ? '/nonexistent/a' : '/bin/true'], { newSession: count % 2 === 0 });
      expect(child.pid > 0).toBe(!wrong);
      if (wrong) continue;
      while (native.waitPidfd(child.pidfd) === null)
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      expect(native.waitPidfd(child.pidfd)).toBe(-errno.ECHILD);
      native.close(child.pidfd);
    }
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  });
});

describe('pidfds', () => {
  it('tell a signal from an exit code', async () => {
    const child = native.spawn(shell('exec sleep 60'));
    expect(native.waitPidfd(child.pidfd)).toBeNull();
    expect(native.signalPidfd(child.pidfd, 0)).toBe(0);
    expect(native.signalPidfd(child.pidfd, signals.SIGKILL)).toBe(0);
    let status: ExitStatus | null | number = null;
    await until(() => {
      status = native.waitPidfd(child.pidfd);
      return status !== null;
    });
    expect(status).toEqual({ code: -1, signal: signals.SIGKILL });
    expect(native.signalPidfd(child.pidfd, signals.SIGTERM)).toBe(-errno.ESRCH);
    native.close(child.pidfd);
  });

  it('are closed on exec', async () => {
    const child = native.spawn(shell('exec sleep 60'));
    const flags = readFileSync(`/proc/self/fdinfo/${child.pidfd}`, 'latin1');
    expect(Number.parseInt(/^flags:\s+(\d+)$/m.exec(flags)?.[1] ?? '', 8) & 0o2000000).toBe(0o2000000);
    native.signalPidfd(child.pidfd, signals.SIGTERM);
    expect(await exitOf(child.pidfd)).toEqual({ code: -1, signal: signals.SIGTERM });
  });

  it('give -errno for other descriptors', () => {
    expect(native.waitPidfd(-1)).toBeLessThan(0);
    expect(native.signalPidfd(-1, 0)).toBe(-errno.EBADF);
  });
});
