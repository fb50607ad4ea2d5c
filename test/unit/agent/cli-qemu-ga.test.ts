// `chr-agent qemu-ga`: the program of spec qemu-ga.md section 7, run from the sources.
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultConfig } from '../../../src/agent/config.ts';
import { openLogFile } from '../../../src/agent/log-file.ts';
import { checkPidFile, writePidFile } from '../../../src/agent/pid-file.ts';
import { qemuGaConfig } from '../../../src/agent/qemu-ga-config.ts';
import { parseQgaCommandLine, resolveQgaOptions } from '../../../src/protocols/qemu-ga/options.ts';

const MAIN = join(import.meta.dirname, '../../../src/agent/main.ts');

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'qemu-ga-test-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

function qemuGa(argv: string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'qemu-ga', ...argv], {
    env: { CHR_AGENT_NO_ACTIONS: '1', QGA_CONF: join(dir, 'none'), ...env },
    cwd: dir,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

function configOf(argv: string[]) {
  const parsed = parseQgaCommandLine(argv);
  if (parsed.kind !== 'settings') throw new Error(parsed.kind);
  return qemuGaConfig(resolveQgaOptions(null, parsed.settings), defaultConfig());
}

describe('what ends at once', () => {
  it('prints the version', () => {
    expect(qemuGa(['-V', '--nope'])).toEqual({ status: 0, stdout: 'QEMU Guest Agent 10.2.2\n', stderr: '' });
  });

  it('refuses an unknown option', () => {
    expect(qemuGa(['--nope'])).toEqual({
      status: 1,
      stdout: "Unknown option, try 'chr-agent qemu-ga --help' for more information.\n",
      stderr: "qemu-ga: unrecognized option '--nope'\n",
    });
  });

  it('lists the commands', () => {
    const { status, stdout } = qemuGa(['-b', 'help']);
    expect(status).toBe(0);
    expect(stdout.split('\n')).toEqual(expect.arrayContaining(['guest-ping', 'guest-exec', '']));
  });

  it('dumps the options of file and command line', () => {
    const conf = join(dir, 'qemu-ga.conf');
    writeFileSync(conf, '[general]\npath=/from-file\nblock-rpcs=a\n');
    for (const result of [
      qemuGa(['-D', '-v', '-b', 'b', '-c', conf]),
      qemuGa(['-Dvb', 'b'], { QGA_CONF: conf }),
    ]) {
      expect(result).toMatchObject({ status: 0, stderr: '' });
      expect(result.stdout).toMatch(
        /^\[general\]\ndaemon=false\n.*\npath=\/from-file\n[\s\S]*verbose=true\n[\s\S]*block-rpcs=a,b\n/,
      );
    }
  });

  it.each([
    [
      'a configuration that is not there',
      ['-D', '-c', 'none'],
      'error loading configuration from path: none, ENOENT',
    ],
    ['a listener without a path', ['-m', 'unix-listen'], 'must specify a path for this channel'],
    ['an empty path', ['-p', ''], 'the path must not be empty'],
    ['an unknown method', ['-m', 'nope', '-p', 'x'], 'unsupported channel method/type: nope'],
    ['a wrong vsock address', ['-m', 'vsock-listen', '-p', 'x'], "a vsock path is CID:PORT, not 'x'"],
    ['a state directory that is not there', ['-t', 'none'], 'unable to use the directory none: ENOENT'],
    ['a log file that cannot be', ['-t', '.', '-l', 'none/log'], 'unable to open specified log file'],
  ])('refuses %s', (_, argv, message) => {
    const result = qemuGa(argv);
    expect(result).toMatchObject({ status: 1, stdout: '' });
    expect(result.stderr).toContain(`qemu-ga: ${message}`);
  });

  it('says where a configuration is wrong', () => {
    const conf = join(dir, 'bad.conf');
    writeFileSync(conf, '[general]\nverbose=maybe\n');
    expect(qemuGa(['-D', '-c', conf])).toMatchObject({
      status: 1,
      stderr: `qemu-ga: error loading configuration from path: ${conf}, Key file contains key “verbose” which has a value that cannot be interpreted.\n`,
    });
  });
});

describe('the options as a configuration', () => {
  it('are qemu-ga and nothing else', () => {
    const config = configOf([
      '-m',
      'isa-serial',
      '-v',
      '-r',
      '-F',
      '-l',
      '/log',
      '-b',
      'x',
      '-a',
      'y',
      '-t',
      '/state',
    ]);
    expect(config).toMatchObject({
      agent: { logLevel: 'debug', logFile: '/log', controlSocket: '/state/chr-agent/control.sock' },
      qemuGa: {
        enabled: true,
        compat: 'upstream',
        method: 'isa-serial',
        path: '/dev/ttyS0',
        retryPath: true,
        fsfreezeHook: '/etc/qemu/fsfreeze-hook',
        blockRpcs: ['x'],
        allowRpcs: ['y'],
      },
      vmtools: { enabled: false },
      xenstore: { enabled: false },
      shaper: { enabled: false },
    });
  });

  it('without options keep to the defaults', () => {
    expect(configOf([])).toMatchObject({
      agent: { logLevel: 'warning', logFile: null, controlSocket: '/var/run/chr-agent/control.sock' },
      qemuGa: { method: 'virtio-serial', retryPath: false, fsfreezeHook: null, blockRpcs: [], allowRpcs: [] },
    });
  });
});

describe('the daemon', () => {
  it('goes to the background with -d, is up then, and takes its pid file along', async () => {
    const [socket, pidFile, logFile] = [join(dir, 'qga.sock'), join(dir, 'qga.pid'), join(dir, 'qga.log')];
    const argv = ['-d', '-v', '-m', 'unix-listen', '-p', socket, '-t', dir, '-f', pidFile, '-l', logFile];
    const started = qemuGa(argv);
    expect(started).toEqual({ status: 0, stdout: '', stderr: '' });
    const pid = Number(/^(\d+)\n$/.exec(readFileSync(pidFile, 'utf8'))?.[1]);
    try {
      expect(statSync(pidFile).mode & 0o777).toBe(0o600);
      expect(processOf(pid)).toMatchObject({ session: pid, cwd: '/', umask: '0077' });
      await expect.poll(() => existsSync(socket), { timeout: 10_000 }).toBe(true);
      expect(await ask(socket, '{"execute":"guest-ping"}\n')).toBe('{"return": {}}\n');
      expect(readFileSync(logFile, 'utf8')).toMatch(/^\d+\.\d{6}: \w+: /);
      const second = qemuGa(argv);
      expect(second).toMatchObject({
        status: 1,
        stderr: `qemu-ga: cannot lock the pid file ${pidFile}: process ${pid} has it\n`,
      });
    } finally {
      process.kill(pid, 'SIGTERM');
    }
    await expect.poll(() => existsSync(pidFile), { timeout: 10_000 }).toBe(false);
  });

  it('ends with status 0 on SIGTERM and writes no pid file in the foreground', async () => {
    const [socket, pidFile] = [join(dir, 'fg.sock'), join(dir, 'fg.pid')];
    const argv = ['-m', 'unix-listen', '-p', socket, '-t', dir, '-f', pidFile];
    const agent = spawn(process.execPath, [MAIN, 'qemu-ga', ...argv], {
      env: { CHR_AGENT_NO_ACTIONS: '1', QGA_CONF: join(dir, 'none') },
      stdio: 'ignore',
    });
    const ended = new Promise((resolve) => agent.on('exit', (code, signal) => resolve(signal ?? code)));
    await expect.poll(() => existsSync(socket), { timeout: 10_000 }).toBe(true);
    expect(await ask(socket, '{"execute":"guest-ping"}\n')).toBe('{"return": {}}\n');
    expect(existsSync(pidFile)).toBe(false);
    agent.kill('SIGTERM');
    expect(await ended).toBe(0);
  });
});

describe('the pid file', () => {
  it('is removed only while it is ours', () => {
    const path = join(dir, 'own.pid');
    const file = writePidFile(path, process.pid);
    expect(readFileSync(path, 'utf8')).toBe(`${process.pid}\n`);
    writeFileSync(path, '1\n');
    file.remove();
    expect(readFileSync(path, 'utf8')).toBe('1\n');
  });

  it('of a dead process is taken over', () => {
    const path = join(dir, 'dead.pid');
    writeFileSync(path, '4194304\n');
    writePidFile(path, process.pid).remove();
    expect(existsSync(path)).toBe(false);
  });

  it.each(['/dev/null', MAIN, import.meta.dirname])('%s is left alone', (path) => {
    expect(() => checkPidFile(path)).toThrow('holds something else than a process id, it is left alone');
  });
});

describe('the log file', () => {
  it('has the lines of qemu-ga, appended', () => {
    const path = join(dir, 'lines.log');
    writeFileSync(path, 'old\n');
    chmodSync(path, 0o600);
    const write = openLogFile(path, () => 1_700_000_000_123.456);
    write('<3>one\n');
    write('<7>two\n');
    expect(readFileSync(path, 'utf8')).toBe(
      'old\n1700000000.123456: error: one\n1700000000.123456: debug: two\n',
    );
  });
});

function processOf(pid: number): { session: number; cwd: string | null; umask: string | null } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const { stdout: cwd } = spawnSync('readlink', [`/proc/${pid}/cwd`], { encoding: 'utf8' });
  const umask = /^Umask:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? null;
  return { session: Number(fields[3]), cwd: cwd.trim(), umask };
}

/** One request, one reply. */
function ask(path: string, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => socket.write(request));
    let reply = '';
    socket.on('error', reject);
    socket.on('data', (piece) => {
      reply += piece;
      if (!reply.endsWith('\n')) return;
      socket.destroy();
      resolve(reply);
    });
  });
}
