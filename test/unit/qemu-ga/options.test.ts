// qemu-ga's options: spec qemu-ga.md section 7. Where the real program is installed the same words are given to it too:
// with -D, -V or a wrong option it prints and exits, no agent is started.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KeyFileError } from '../../../src/protocols/key-file.ts';
import {
  dumpQgaOptions,
  parseQgaCommandLine,
  QgaOptionsError,
  type QgaSettings,
  readQgaConfigFile,
  resolveQgaOptions,
} from '../../../src/protocols/qemu-ga/options.ts';

const REAL_QEMU_GA = '/usr/sbin/qemu-ga';

function settingsOf(argv: string[]): QgaSettings {
  const parsed = parseQgaCommandLine(argv);
  if (parsed.kind !== 'settings') throw new Error(parsed.kind);
  return parsed.settings;
}

function dump(argv: string[], file: string | null = null): string {
  return dumpQgaOptions(
    resolveQgaOptions(file === null ? null : readQgaConfigFile(Buffer.from(file)), settingsOf(argv)),
  );
}

/** The dump that differs from the defaults in these lines. */
function dumpWith(changes: Record<string, string>): string {
  const lines = {
    daemon: 'false',
    method: 'virtio-serial',
    path: '/dev/virtio-ports/org.qemu.guest_agent.0',
    logfile: '',
    pidfile: '/var/run/qemu-ga.pid',
    'fsfreeze-hook': '',
    statedir: '/var/run',
    verbose: 'false',
    'retry-path': 'false',
    'block-rpcs': '',
    'allow-rpcs': '',
    ...changes,
  };
  const optional = ['logfile', 'fsfreeze-hook'];
  const kept = Object.entries(lines).filter(([key, value]) => !optional.includes(key) || value !== '');
  return `[general]\n${kept.map(([key, value]) => `${key}=${value}\n`).join('')}`;
}

const DUMPS: [string[], Record<string, string>][] = [
  [[], {}],
  [['-m', 'isa-serial'], { method: 'isa-serial', path: '/dev/ttyS0' }],
  [['-misa-serial', '-p/dev/x'], { method: 'isa-serial', path: '/dev/x' }],
  [['--method=unix-listen', '--path', '/s'], { method: 'unix-listen', path: '/s' }],
  [['-m', 'unix-listen', '-p', '-v'], { method: 'unix-listen', path: '-v' }],
  [['-m', 'no-such-method', '-p', '/x'], { method: 'no-such-method', path: '/x' }],
  [['-p', ''], { path: '' }],
  [['-v', '-r', '-d'], { verbose: 'true', 'retry-path': 'true', daemon: 'true' }],
  [['-vrdl', '/log'], { verbose: 'true', 'retry-path': 'true', daemon: 'true', logfile: '/log' }],
  [['-f', '/pid', '-t', '/state'], { pidfile: '/pid', statedir: '/state' }],
  [['-F'], { 'fsfreeze-hook': '/etc/qemu/fsfreeze-hook' }],
  [['-F/hook'], { 'fsfreeze-hook': '/hook' }],
  [['-F', '/positional'], { 'fsfreeze-hook': '/etc/qemu/fsfreeze-hook' }],
  [['--fsfreeze-hook=/hook'], { 'fsfreeze-hook': '/hook' }],
  [['--fsfreeze-hook', '/positional'], { 'fsfreeze-hook': '/etc/qemu/fsfreeze-hook' }],
  [
    ['--fs=/hook', '--pa=/x', '--verb', '--retry'],
    { 'fsfreeze-hook': '/hook', path: '/x', verbose: 'true', 'retry-path': 'true' },
  ],
  [['-b', 'a,b', '-b', 'c,d,,e'], { 'block-rpcs': 'b,a,e,,d,c' }],
  [['--block-rpcs=a', '--b', 'b', '--blacklist=c'], { 'block-rpcs': 'a,b,c' }],
  [['-b', ''], {}],
  [['-b', 'help,x'], { 'block-rpcs': 'x,help' }],
  [['word', '-v', 'other'], { verbose: 'true' }],
  [['-v', '--', '-r', '--nope'], { verbose: 'true' }],
  [['-', '-v'], { verbose: 'true' }],
  [['-p', '/a', '-p', '/b'], { path: '/b' }],
  [['-p', '\t x\ry\\z\nw\t'], { path: '\\t\\sx\\ry\\\\z\\nw\t' }],
];

describe('the command line', () => {
  it.each(DUMPS)('%j', (argv, changes) => {
    expect(dump(argv)).toBe(dumpWith(changes));
  });

  it('has the allow list and the configuration file of newer versions', () => {
    expect(dump(['-a', 'x,y', '--allow-rpcs=z'])).toBe(dumpWith({ 'allow-rpcs': 'y,x,z' }));
    expect(parseQgaCommandLine(['-c', '/a', '--config=/b', '-D'])).toMatchObject({
      configPath: '/b',
      dump: true,
    });
    expect(parseQgaCommandLine([])).toMatchObject({ configPath: null, dump: false });
  });

  it.each([
    [['-x'], "invalid option -- 'x'"],
    [['-vx'], "invalid option -- 'x'"],
    [['--nope'], "unrecognized option '--nope'"],
    [['--nope=3'], "unrecognized option '--nope=3'"],
    [['--p'], "option '--p' is ambiguous; possibilities: '--pidfile' '--path'"],
    [['-m'], "option requires an argument -- 'm'"],
    [['--method'], "option '--method' requires an argument"],
    [['--verbose=3'], "option '--verbose' doesn't allow an argument"],
    [['-x', '-V'], "invalid option -- 'x'"],
  ])('refuses %j', (argv, message) => {
    expect(parseQgaCommandLine(argv)).toEqual({ kind: 'error', message });
  });

  it.each([
    [['-h'], 'help'],
    [['--he', '-x'], 'help'],
    [['-V', '-x'], 'version'],
    [['-b', 'help', '-x'], 'list-commands'],
    [['-b?'], 'list-commands'],
    [['--allow-rpcs=help'], 'list-commands'],
  ])('answers %j', (argv, kind) => {
    expect(parseQgaCommandLine(argv)).toEqual({ kind });
  });

  it.each(['unix-listen', 'vsock-listen', 'no-such-method'])('demands a path for %s', (method) => {
    expect(() => dump(['-m', method])).toThrow(new QgaOptionsError('must specify a path for this channel'));
  });
});

const FILES: [string, Record<string, string>][] = [
  ['', {}],
  ['[other]\nverbose=zzz\n', {}],
  [
    '[general]\ndaemon = 1\n path = /dev/foo\\sx\\ny  \nverbose=true \n',
    { daemon: 'true', path: '/dev/foo x\\ny  ', verbose: 'true' },
  ],
  ['# c\n\n[general]  \r\nverbose=true\r\npath=/x\r\n', { verbose: 'true', path: '/x' }],
  ['[general]\nverbose=true\nunknown=3\n[x]\n[general]\nverbose=0', { verbose: 'false' }],
  [
    '[general]\nmethod=isa-serial\npidfile=/p\nlogfile=/l\nstatedir=/s\nretry-path=true\nfsfreeze-hook=/h\n',
    {
      method: 'isa-serial',
      path: '/dev/ttyS0',
      pidfile: '/p',
      logfile: '/l',
      statedir: '/s',
      'retry-path': 'true',
      'fsfreeze-hook': '/h',
    },
  ],
  ['[general]\nblock-rpcs=x,y\n', { 'block-rpcs': 'y,x' }],
  ['[general]\nblock-rpcs=a,b\nblacklist=c\n', { 'block-rpcs': 'c' }],
  ['[general]\nverbose[de]=x\npa th=3\n', {}],
];

const BAD_FILES: [string, number, string][] = [
  [
    '[general]\nverbose=yes\n',
    2,
    'Key file contains key “verbose” which has a value that cannot be interpreted.',
  ],
  [
    '[general]\nverbose=true x\n',
    2,
    'Key file contains key “verbose” which has a value that cannot be interpreted.',
  ],
  [
    '[general]\npath=a\\qb\n',
    2,
    'Key file contains key “path” which has a value that cannot be interpreted.',
  ],
  ['[general]\npath=a\\\n', 2, 'Key file contains key “path” which has a value that cannot be interpreted.'],
  ['verbose=true\n', 1, 'Key file does not start with a group'],
  [
    '[general]\n\nverbose\n',
    3,
    'Key file contains line “verbose” which is not a key-value pair, group, or comment',
  ],
  [
    '[general\nverbose=1\n',
    1,
    'Key file contains line “[general” which is not a key-value pair, group, or comment',
  ],
  [
    '[general] x\n',
    1,
    'Key file contains line “[general] x” which is not a key-value pair, group, or comment',
  ],
  ['[general]\n;x\n', 2, 'Key file contains line “;x” which is not a key-value pair, group, or comment'],
  ['[general]\n=x\n', 2, 'Key file contains line “=x” which is not a key-value pair, group, or comment'],
  ['[]\n', 1, 'Invalid group name: '],
];

describe('the configuration file', () => {
  it.each(FILES)('%j', (file, changes) => {
    expect(dump([], file)).toBe(dumpWith(changes));
  });

  it('is overridden by options, but its lists grow', () => {
    const file = '[general]\npath=/f\nverbose=true\nblock-rpcs=x,y\nallow-rpcs=p\n';
    expect(dump(['-p', '/o', '-b', 'z', '-a', 'q'], file)).toBe(
      dumpWith({ path: '/o', verbose: 'true', 'block-rpcs': 'y,x,z', 'allow-rpcs': 'p,q' }),
    );
  });

  it.each(BAD_FILES)('%j is refused', (file, line, message) => {
    expect(() => readQgaConfigFile(Buffer.from(file))).toThrow(new KeyFileError(line, message));
  });

  it('must be UTF-8', () => {
    expect(() => readQgaConfigFile(Buffer.from('[general]\npath=a\xffb\n', 'latin1'))).toThrow(
      'Key file contains key “path” with value “a�b” which is not UTF-8',
    );
  });

  it('comes out of a dump as it went in', () => {
    const text = dump(['-p', ' \\n\n', '-F/h', '-l', '', '-b', 'a']);
    expect(dump([], text)).toBe(text);
  });
});

describe.skipIf(!existsSync(REAL_QEMU_GA))('the real qemu-ga', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'options-test-'));
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  function real(argv: string[], file: string | null = null) {
    const path = join(dir, 'qemu-ga.conf');
    if (file !== null) writeFileSync(path, file);
    // -D first: whatever comes after it, no agent is started
    return spawnSync(REAL_QEMU_GA, ['-D', ...argv], {
      cwd: dir,
      env: { LC_ALL: 'C.UTF-8', QGA_CONF: file === null ? join(dir, 'none') : path },
      encoding: 'utf8',
    });
  }

  // up to 8.0 it has no allow list
  const withoutAllowList = (text: string) => text.replace(/^allow-rpcs=.*\n/m, '');

  it.each(DUMPS)('dumps the same for %j', (argv) => {
    expect(withoutAllowList(real(argv).stdout)).toBe(withoutAllowList(dump(argv)));
  });

  it.each(FILES)('dumps the same for the file %j', (file) => {
    expect(withoutAllowList(real([], file).stdout)).toBe(withoutAllowList(dump([], file)));
  });

  it.each(BAD_FILES)('refuses the same file %j', (file, _line, message) => {
    const result = real([], file);
    // it does not set its locale, so that GLib writes '?' for the quotation marks
    expect(result.stderr).toContain(message.replaceAll(/[“”]/g, '?').trimEnd());
    expect(result.status).toBe(1);
  });
});
