// The command line: docs/cli.md. The real program is run, from the sources.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { CliContext } from '../../../src/agent/cli/command.ts';
import { config } from '../../../src/agent/cli/config.ts';
import { detect } from '../../../src/agent/cli/detect.ts';
import { formatFreezeStatus, freezeStatus } from '../../../src/agent/cli/freeze-status.ts';
import { help } from '../../../src/agent/cli/help.ts';
import { status } from '../../../src/agent/cli/status.ts';
import { version } from '../../../src/agent/cli/version.ts';
import { type ControlServer, startControlServer } from '../../../src/agent/control.ts';
import { VERSION } from '../../../src/agent/version.ts';
import type { QuiesceStatus } from '../../../src/quiesce/quiescer.ts';

const MAIN = join(import.meta.dirname, '../../../src/agent/main.ts');

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'cli-test-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

function configFile(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

function chrAgent(argv: string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...argv], {
    env: { CHR_AGENT_NO_ACTIONS: '1', ...env },
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

/** A context that keeps what is printed. */
function context(env: Record<string, string> = {}): CliContext & { stdout: string; stderr: string } {
  return {
    env,
    stdout: '',
    stderr: '',
    out(text) {
      this.stdout += text;
    },
    err(text) {
      this.stderr += text;
    },
  };
}

describe('the entry', () => {
  it.each([
    [[], 'chr-agent: a subcommand is missing'],
    [['nope'], "chr-agent: unknown subcommand 'nope'"],
    [['constructor'], "chr-agent: unknown subcommand 'constructor'"],
    [['status', '--nope'], "chr-agent: Unknown option '--nope'"],
    [['run', 'word'], "chr-agent: Unexpected argument 'word'"],
    [['run', '--log-level', 'loud'], "chr-agent: '--log-level' is one of error, warning, info, debug"],
    [['config', 'nope'], "chr-agent: Unknown action 'nope'"],
  ])('%j is a usage error, told in one line', (argv, message) => {
    const result = chrAgent(argv);
    expect(result).toMatchObject({ status: 2, stdout: '' });
    expect(result.stderr).toMatch(/^.*try 'chr-agent .*'\n$/);
    expect(result.stderr).toContain(message);
  });

  it.each([
    'run',
    'status',
    'freeze-status',
    'jobs',
    'doctor',
    'detect',
    'license',
    'scripts',
    'config',
    'qemu-ga',
    'version',
  ])('%s has --help', (name) => {
    const result = chrAgent([name, '--help']);
    expect(result).toMatchObject({ status: 0, stderr: '' });
    expect(result.stdout).toMatch(new RegExp(`^usage: chr-agent ${name}`, 'i'));
  });

  it('does not start with a bad configuration', () => {
    const path = configFile('bad.toml', '\n[qemu-ga]\nmethod = "x"\n');
    const message = `${path}:3: qemu-ga.method: must be one of virtio-serial, isa-serial, unix-listen, vsock-listen\n`;
    expect(chrAgent(['run'], { CHR_AGENT_CONFIG: path })).toEqual({
      status: 78,
      stdout: '',
      stderr: message,
    });
    expect(chrAgent(['status', '--config', path])).toEqual({ status: 78, stdout: '', stderr: message });
  });
});

describe('help and version', () => {
  it('are printed', async () => {
    const io = context();
    expect(await help([], io)).toBe(0);
    expect(await version([], io)).toBe(0);
    expect(io.stdout).toMatch(/^usage: chr-agent SUBCOMMAND/);
    expect(io.stdout).toContain(`\nchr-agent ${VERSION}\n`);
  });

  it('the version is that of package.json', async () => {
    const manifest = JSON.parse(readFileSync(join(import.meta.dirname, '../../../package.json'), 'utf8'));
    const io = context();
    await version(['--json'], io);
    expect(JSON.parse(io.stdout)).toMatchObject({ version: manifest.version, qemuGa: '10.2.2' });
  });
});

describe('config check', () => {
  it('says that a file is good', async () => {
    const path = configFile('good.toml', '[freeze]\ntime-limit = 5');
    const io = context();
    expect(await config(['check', '--config', path], io)).toBe(0);
    expect(io.stdout).toBe(`${path}: ok\n`);
  });

  it('shows what is in force', async () => {
    const path = configFile('good.toml', '[freeze]\ntime-limit = 5');
    const io = context({ CHR_AGENT_CONFIG: path });
    expect(await config(['check', '--json'], io)).toBe(0);
    expect(JSON.parse(io.stdout)).toMatchObject({
      ok: true,
      file: path,
      config: { freeze: { timeLimitMs: 5_000 }, qemuGa: { method: 'virtio-serial' } },
    });
  });

  it('tells every problem', async () => {
    const path = configFile('bad.toml', '[freeze]\nx = 1\n[agent]\ny = 1');
    const io = context();
    expect(await config(['check', '--config', path], io)).toBe(78);
    expect(io.stderr.match(/^.*:\d+: \S+: unknown key/gm)?.map((line) => line.slice(path.length))).toEqual([
      ':4: agent.y: unknown key',
      ':2: freeze.x: unknown key',
    ]);
    const json = context();
    expect(await config(['check', '--json', '--config', path], json)).toBe(78);
    expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, problems: [{ line: 4 }, { line: 2 }] });
  });
});

describe('detect', () => {
  it('tells what it found, whatever this machine is', async () => {
    const text = context();
    expect(await detect([], text)).toBe(0);
    expect(text.stdout).toMatch(
      /^hypervisor: \S+\n\nEVIDENCE .*\n[\s\S]*\n\nPROTOCOL .*\nqemu-ga .*\nvmtools .*\nxenstore .*\n$/,
    );
    const json = context();
    await detect(['--json'], json);
    expect(JSON.parse(json.stdout)).toMatchObject({
      evidence: expect.any(Array),
      protocols: expect.any(Object),
    });
  });
});

describe('status', () => {
  let server: ControlServer | undefined;
  afterEach(async () => {
    await server?.close();
    server = undefined;
  });

  const log = { error() {}, warning() {}, info() {}, debug() {} };
  const STATUS = {
    version: '1',
    pid: 2,
    startedAt: '2026-01-01T00:00:00.000Z',
    hypervisor: 'none',
    protocols: [],
    jobs: { running: 0, finished: 0 },
    frozen: true,
    license: null,
    memory: { residentBytes: 0, heapBytes: 0 },
  };

  const THAWED: QuiesceStatus = {
    state: 'thawed',
    owner: null,
    sinceMs: null,
    mountPoints: [],
    timeLimitMs: 0,
    notice: null,
  };

  it('asks the daemon of the configuration', async () => {
    const path = configFile('status.toml', `[agent]\nruntime-dir = "${dir}/run"`);
    server = await startControlServer({
      path: join(dir, 'run/control.sock'),
      handlers: { status: () => STATUS, 'freeze-status': () => THAWED, jobs: () => [] },
      log,
    });
    const text = context();
    expect(await status(['--config', path], text)).toBe(0);
    expect(text.stdout).toContain('file systems  frozen\n');
    const json = context({ CHR_AGENT_CONFIG: path });
    expect(await status(['--json'], json)).toBe(0);
    expect(JSON.parse(json.stdout)).toEqual(STATUS);
  });

  it('asks whether file systems are frozen', async () => {
    const path = configFile('freeze-status.toml', `[agent]\nruntime-dir = "${dir}/run"`);
    server = await startControlServer({
      path: join(dir, 'run/control.sock'),
      handlers: { status: () => STATUS, 'freeze-status': () => THAWED, jobs: () => [] },
      log,
    });
    const text = context();
    expect(await freezeStatus(['--config', path], text)).toBe(0);
    expect(text.stdout).toBe('file systems  thawed\n');
    const json = context({ CHR_AGENT_CONFIG: path });
    expect(await freezeStatus(['--json'], json)).toBe(0);
    expect(JSON.parse(json.stdout)).toEqual(THAWED);
  });

  it('tells all that is known of a freeze', () => {
    const sinceMs = Date.parse('2026-01-02T03:04:05.000Z');
    const frozen: QuiesceStatus = {
      state: 'frozen',
      owner: 'qemu-ga',
      sinceMs,
      mountPoints: ['/data', '/'],
      timeLimitMs: 600_000,
      notice: null,
    };
    expect(formatFreezeStatus(frozen, sinceMs + 12_345)).toBe(
      [
        'file systems  frozen',
        'by            qemu-ga',
        'since         2026-01-02T03:04:05.000Z (12 s)',
        'time limit    600 s',
        '  /data',
        '  /',
        '',
      ].join('\n'),
    );
    expect(formatFreezeStatus({ ...THAWED, notice: 'thawed by the guard' })).toBe(
      'file systems  thawed\nnotice        thawed by the guard\n',
    );
  });

  it('asks the daemon of --dev', async () => {
    const runtimeDir = join(dir, 'chr-agent-dev');
    server = await startControlServer({
      path: join(runtimeDir, 'control.sock'),
      handlers: { status: () => STATUS, 'freeze-status': () => THAWED, jobs: () => [] },
      log,
    });
    expect(await status(['--dev'], context({ XDG_RUNTIME_DIR: dir }))).toBe(0);
  });

  it('has a status of its own for "not running"', async () => {
    const path = configFile('off.toml', `agent.control-socket = "${dir}/off.sock"`);
    const io = context();
    expect(await status(['--config', path], io)).toBe(3);
    expect(io).toMatchObject({
      stdout: '',
      stderr: `chr-agent: not running (nobody listens at ${dir}/off.sock)\n`,
    });
  });

  it('fails when the daemon does', async () => {
    const path = configFile('broken.toml', `agent.control-socket = "${dir}/broken.sock"`);
    const broken = () => {
      throw new Error('broken');
    };
    server = await startControlServer({
      path: join(dir, 'broken.sock'),
      handlers: { status: broken, 'freeze-status': broken, jobs: broken },
      log,
    });
    const io = context();
    expect(await status(['--config', path, '--json'], io)).toBe(1);
    expect(JSON.parse(io.stdout)).toEqual({ error: 'broken' });
  });
});
