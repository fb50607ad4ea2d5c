import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ConfigError,
  defaultConfig,
  devConfig,
  devDirectory,
  loadConfig,
  parseConfig,
} from '../../../src/agent/config.ts';

const FILE = '/etc/chr-agent/agent.toml';

function errorOf(text: string): ConfigError {
  try {
    parseConfig(text, FILE);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('no error');
}

describe('an empty file', () => {
  it('gives the documented defaults', () => {
    expect(parseConfig('', FILE)).toEqual({
      agent: {
        logLevel: 'info',
        logFile: null,
        stateDir: '/var/lib/chr-agent',
        runtimeDir: '/run/chr-agent',
        controlSocket: '/run/chr-agent/control.sock',
        drainLimitMs: 10_000,
      },
      qemuGa: {
        enabled: 'auto',
        compat: 'chr',
        method: 'virtio-serial',
        path: null,
        blockRpcs: [],
        allowRpcs: [],
        version: '10.2.2',
        retryPath: true,
        fsfreezeHook: null,
      },
      vmtools: {
        enabled: 'auto',
        compat: 'chr',
        toolsConf: '/etc/vmware-tools/tools.conf',
        timeSyncBackward: false,
        guestOperationsUsers: ['root'],
        guestOperationsGroups: ['chr-agent'],
        allowEmptyPassword: [],
      },
      xenstore: {
        enabled: 'auto',
        path: null,
        runAtEveryBoot: false,
        timeLimitMs: 120_000,
        misspeltOutput: true,
        featureBalloon: null,
      },
      shaper: { enabled: 'auto', interfaces: ['*'] },
      license: {
        stateDir: '/var/lib/chr-agent/license',
        keysDir: '/etc/chr-agent/license-keys.d',
        accountServer: null,
        caFile: null,
      },
      scripts: {
        interpreter: '/bin/sh',
        filesDir: '/var/lib/chr-agent/files',
        timeLimitMs: 120_000,
        graceMs: 5_000,
      },
      freeze: { timeLimitMs: 600_000, hooksDir: '/etc/chr-agent/hooks' },
    });
  });

  it('is not shared between calls', () => {
    expect(defaultConfig().qemuGa.blockRpcs).not.toBe(defaultConfig().qemuGa.blockRpcs);
  });
});

describe('every key', () => {
  it('is read', () => {
    const config = parseConfig(
      `
      [agent]
      log-level = "debug"
      state-dir = "/s"
      runtime-dir = "/r"
      drain-limit = 0
      [qemu-ga]
      enabled = true
      compat = "upstream"
      method = "vsock-listen"
      path = "3:1234"
      block-rpcs = ["guest-exec"]
      allow-rpcs = ["guest-ping"]
      version = "9.1"
      [vmtools]
      enabled = false
      compat = "upstream"
      tools-conf = "/t"
      time-sync-backward = true
      guest-operations-users = []
      guest-operations-groups = ["operators"]
      allow-empty-password = ["admin"]
      [xenstore]
      enabled = "auto"
      path = "/x"
      run-at-every-boot = true
      time-limit = 2.5
      misspelt-output = false
      feature-balloon = true
      [shaper]
      enabled = true
      interfaces = ["eth*", "wg0"]
      [license]
      keys-dir = "/k"
      account-server = "https://license.example/"
      ca-file = "/ca.pem"
      [scripts]
      interpreter = "/bin/bash"
      time-limit = 0.5
      grace = 1
      [freeze]
      time-limit = 30
      hooks-dir = "/h"
      `,
      FILE,
    );
    expect(config).toEqual({
      agent: {
        logLevel: 'debug',
        logFile: null,
        stateDir: '/s',
        runtimeDir: '/r',
        controlSocket: '/r/control.sock',
        drainLimitMs: 0,
      },
      qemuGa: {
        enabled: true,
        compat: 'upstream',
        method: 'vsock-listen',
        path: '3:1234',
        blockRpcs: ['guest-exec'],
        allowRpcs: ['guest-ping'],
        version: '9.1',
        retryPath: true,
        fsfreezeHook: null,
      },
      vmtools: {
        enabled: false,
        compat: 'upstream',
        toolsConf: '/t',
        timeSyncBackward: true,
        guestOperationsUsers: [],
        guestOperationsGroups: ['operators'],
        allowEmptyPassword: ['admin'],
      },
      xenstore: {
        enabled: 'auto',
        path: '/x',
        runAtEveryBoot: true,
        timeLimitMs: 2_500,
        misspeltOutput: false,
        featureBalloon: true,
      },
      shaper: { enabled: true, interfaces: ['eth*', 'wg0'] },
      license: {
        stateDir: '/s/license',
        keysDir: '/k',
        accountServer: 'https://license.example/',
        caFile: '/ca.pem',
      },
      scripts: { interpreter: '/bin/bash', filesDir: '/s/files', timeLimitMs: 500, graceMs: 1_000 },
      freeze: { timeLimitMs: 30_000, hooksDir: '/h' },
    });
  });

  it('that derives from another can be set by itself', () => {
    const config = parseConfig(
      `agent = { control-socket = "/c" }
       license.state-dir = "/l"
       scripts.files-dir = "/f"`,
      FILE,
    );
    expect([config.agent.controlSocket, config.license.stateDir, config.scripts.filesDir]).toEqual([
      '/c',
      '/l',
      '/f',
    ]);
  });
});

describe('the freeze time limit', () => {
  it.each([
    ['', 600_000],
    ['[qemu-ga]\ncompat = "upstream"', 0],
    ['[qemu-ga]\ncompat = "upstream"\n[freeze]\ntime-limit = 60', 60_000],
    ['[freeze]\ntime-limit = 0', 0],
  ])('of %j is %i ms', (text, timeLimitMs) => {
    expect(parseConfig(text, FILE).freeze.timeLimitMs).toBe(timeLimitMs);
  });
});

describe('a wrong file', () => {
  it.each([
    [
      'a wrong word',
      '\n\n[agent]\nlog-level = "info"\n\n[qemu-ga]\nmethod = "x"',
      `${FILE}:7: qemu-ga.method: must be one of virtio-serial, isa-serial, unix-listen, vsock-listen`,
    ],
    [
      'a wrong switch',
      '[vmtools]\nenabled = "yes"',
      `${FILE}:2: vmtools.enabled: must be one of true, false, "auto"`,
    ],
    [
      'an unknown table',
      'x = 1',
      `${FILE}:1: x: unknown key; the keys here are agent, qemu-ga, vmtools, xenstore, shaper, license, scripts, freeze`,
    ],
    [
      'an unknown key',
      '[freeze]\ntimelimit = 1',
      `${FILE}:2: freeze.timelimit: unknown key; the keys here are time-limit, hooks-dir`,
    ],
    ['a value for a table', 'freeze = 1', `${FILE}:1: freeze: must be a table`],
    ['a date for a table', 'freeze = 2020-01-01', `${FILE}:1: freeze: must be a table`],
    ['a list of tables', '[[freeze]]', `${FILE}:1: freeze: must be a table`],
    ['no number', '[freeze]\ntime-limit = "1"', `${FILE}:2: freeze.time-limit: must be a number of seconds`],
    ['nan', '[freeze]\ntime-limit = nan', `${FILE}:2: freeze.time-limit: must be a number of seconds`],
    [
      'zero',
      '[scripts]\ntime-limit = 0',
      `${FILE}:2: scripts.time-limit: must be a number of seconds above 0, up to 86400`,
    ],
    [
      'infinity',
      '[agent]\ndrain-limit = inf',
      `${FILE}:2: agent.drain-limit: must be a number of seconds from 0 to 86400`,
    ],
    [
      'a negative number',
      '[agent]\ndrain-limit = -1',
      `${FILE}:2: agent.drain-limit: must be a number of seconds from 0 to 86400`,
    ],
    [
      'a relative path',
      '[scripts]\nfiles-dir = "x"',
      `${FILE}:2: scripts.files-dir: must be an absolute path`,
    ],
    ['an empty path', '[qemu-ga]\npath = ""', `${FILE}:2: qemu-ga.path: must not be empty`],
    [
      'a NUL in a path',
      '[scripts]\nfiles-dir = "/\\u0000"',
      `${FILE}:2: scripts.files-dir: must not hold a NUL`,
    ],
    [
      'a wrong element',
      '[qemu-ga]\nblock-rpcs = [\n  "a",\n  3,\n]',
      `${FILE}:4: qemu-ga.block-rpcs.1: must be a string`,
    ],
    [
      'a string for a list',
      '[shaper]\ninterfaces = "eth0"',
      `${FILE}:2: shaper.interfaces: must be an array of strings`,
    ],
    [
      'no URL',
      '[license]\naccount-server = "x"',
      `${FILE}:2: license.account-server: must be an http or https URL`,
    ],
    [
      'passwords in the clear',
      '[license]\naccount-server = "http://license.example/"',
      `${FILE}:2: license.account-server: must be https: passwords go there, http is only for loopback addresses`,
    ],
    [
      'a listener without a path',
      '[qemu-ga]\nmethod = "unix-listen"',
      `${FILE}:1: qemu-ga.path: is required with this method`,
    ],
    [
      'a wrong vsock address',
      '[qemu-ga]\nmethod = "vsock-listen"\npath = "/x"',
      `${FILE}:3: qemu-ga.path: must be CID:PORT with method vsock-listen`,
    ],
    ['a relative socket', '[qemu-ga]\npath = "x"', `${FILE}:2: qemu-ga.path: must be an absolute path`],
    ['bad syntax', '[agent]\nlog-level =', `${FILE}:2: invalid value`],
    ['the prototype', '__proto__ = 1', `${FILE}:1: document contains an unsafe property`],
  ])('with %s is refused', (_, text, message) => {
    expect(errorOf(text).message).toBe(message);
  });

  it('is told about every problem, with file, line and key', () => {
    const error = errorOf('[qemu-ga]\ncompat = 1\n[freeze]\nx = 1');
    expect(error).toMatchObject({ file: FILE, line: 2, key: 'qemu-ga.compat' });
    expect(error.problems.map(({ line, key }) => [line, key])).toEqual([
      [2, 'qemu-ga.compat'],
      [4, 'freeze.x'],
    ]);
  });
});

describe('finding the file', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'config-test-'));
    writeFileSync(join(dir, 'a.toml'), '[agent]\nlog-level = "error"');
    writeFileSync(join(dir, 'b.toml'), '[agent]\nlog-level = "debug"');
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  it('takes --config before CHR_AGENT_CONFIG', () => {
    const env = { CHR_AGENT_CONFIG: join(dir, 'b.toml') };
    expect(loadConfig(join(dir, 'a.toml'), env)).toMatchObject({
      path: join(dir, 'a.toml'),
      config: { agent: { logLevel: 'error' } },
    });
    expect(loadConfig(undefined, env)).toMatchObject({ config: { agent: { logLevel: 'debug' } } });
  });

  it.each([
    ['--config', 'missing.toml', {}],
    ['CHR_AGENT_CONFIG', undefined, { CHR_AGENT_CONFIG: 'missing.toml' }],
  ])('refuses a missing file named by %s', (_, path, env) => {
    expect(() => loadConfig(path, env)).toThrow('missing.toml: cannot be read (ENOENT)');
  });

  it('refuses a directory', () => {
    expect(() => loadConfig(dir, {})).toThrow(`${dir}: cannot be read (EISDIR)`);
  });
});

describe('--dev', () => {
  it('puts everything below its directory', () => {
    const config = devConfig(defaultConfig(), '/tmp/dev');
    expect(config).toMatchObject({
      agent: { stateDir: '/tmp/dev/state', runtimeDir: '/tmp/dev', controlSocket: '/tmp/dev/control.sock' },
      qemuGa: { enabled: true, method: 'unix-listen', path: '/tmp/dev/qga.sock' },
      vmtools: { enabled: false },
      xenstore: { enabled: true, path: '/tmp/dev/xenstore/domU-1.sock' },
      shaper: { enabled: false },
      license: { stateDir: '/tmp/dev/license' },
      scripts: { filesDir: '/tmp/dev/files' },
    });
  });

  it('keeps what is switched on by name', () => {
    const base = parseConfig('[vmtools]\nenabled = true', FILE);
    expect(devConfig(base, '/d').vmtools.enabled).toBe(true);
  });

  it('uses the runtime directory of the user, else /tmp', () => {
    expect(devDirectory({ XDG_RUNTIME_DIR: '/run/user/7' }, 7)).toBe('/run/user/7/chr-agent-dev');
    expect(devDirectory({}, 7)).toBe('/tmp/chr-agent-dev-7');
  });
});
