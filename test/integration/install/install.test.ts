import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

const PROJECT = new URL('../../..', import.meta.url).pathname;
const AGENT = 'usr/bin/chr-agent';

let tree: string;
let image: string;
beforeAll(() => {
  tree = mkdtempSync(join(tmpdir(), 'install-tree-'));
  execFileSync(join(PROJECT, 'packaging/tree'), [tree]);
});
afterAll(() => rmSync(tree, { recursive: true }));
beforeEach(() => {
  image = mkdtempSync(join(tmpdir(), 'install-image-'));
});
afterEach(() => rmSync(image, { recursive: true }));

function agent(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(join(tree, AGENT), args, { encoding: 'utf8' });
  return { status, stdout, stderr };
}
const install = (...options: string[]) => agent('install', '--root', image, ...options);

/** A value with `-> ` is a link's target, else a file's text. */
function make(files: Record<string, string>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(image, path)), { recursive: true });
    if (content.startsWith('-> ')) symlinkSync(content.slice(3), join(image, path));
    else writeFileSync(join(image, path), content);
  }
}
const text = (path: string) => readFileSync(join(image, path), 'utf8');
const link = (path: string) => readlinkSync(join(image, path));
/** Everything in the image, with modes, contents and targets. */
const snapshot = () =>
  execFileSync(
    'sh',
    [
      '-c',
      'cd "$1" && find . -printf "%y %m %U %P %l\\n" | sort && find . -type f -exec md5sum {} + | sort',
      'sh',
      image,
    ],
    {
      encoding: 'utf8',
    },
  );

const SYSTEMD = {
  'usr/lib/systemd/systemd': '',
  'usr/sbin/init': '-> /lib/systemd/systemd',
  lib: '-> usr/lib',
  sbin: '-> usr/sbin',
  'usr/lib/systemd/system/qemu-guest-agent.service': '',
};
const IMAGES: Record<string, Record<string, string>> = {
  systemd: SYSTEMD,
  openrc: {
    'bin/busybox': '',
    'sbin/init': '-> /bin/busybox',
    'sbin/openrc-run': '',
    'etc/inittab': '::sysinit:/sbin/openrc sysinit\n',
    'etc/runlevels/default/qemu-guest-agent': '-> /etc/init.d/qemu-guest-agent',
  },
  busybox: {
    'bin/busybox': '',
    'sbin/init': '-> /bin/busybox',
    'etc/inittab': '::sysinit:/etc/rcS\n::shutdown:/bin/umount -a -r\n',
  },
  'busybox with rcS': {
    'bin/busybox': '',
    'sbin/init': '-> /bin/busybox',
    'etc/init.d/rcS': '#!/bin/sh\nfor i in /etc/init.d/S??* ;do $i start; done\n',
  },
  sysv: { 'sbin/init': 'ELF', 'etc/rc2.d/S01x': '' },
  none: {},
};

describe.each(Object.entries(IMAGES))('%s', (_name, files) => {
  it('is installed, again without a change, and taken back without a trace', () => {
    make(files);
    const before = snapshot();
    expect(install('--disable-others')).toMatchObject({ status: 0 });
    const installed = snapshot();
    expect(readFileSync(join(image, 'usr/lib/chr-agent/dist/node')).length).toBeGreaterThan(50_000_000);
    expect(install('--disable-others').stdout).toMatch(/files: 0 copied, \d+ there already/);
    expect(snapshot()).toBe(installed);
    expect(agent('uninstall', '--root', image, '--purge')).toMatchObject({ status: 0, stderr: '' });
    expect(snapshot()).toBe(before);
  });
});

describe('what starts the service', () => {
  it('systemd', () => {
    make(SYSTEMD);
    const { stdout, stderr } = install();
    expect(link('etc/systemd/system/multi-user.target.wants/chr-agent.service')).toBe(
      '/usr/lib/systemd/system/chr-agent.service',
    );
    expect(stdout).toContain('init system: systemd\n');
    expect(stderr).toContain('qemu-guest-agent.service (qemu-guest-agent) would run beside it');
    expect(install('--disable-others').stdout).toContain('switched off: qemu-guest-agent.service');
    expect(link('etc/systemd/system/qemu-guest-agent.service')).toBe('/dev/null');
  });

  it('OpenRC', () => {
    make(IMAGES.openrc ?? {});
    install('--disable-others');
    expect(text('etc/init.d/chr-agent')).toMatch(/^#!\/sbin\/openrc-run\n/);
    expect(link('etc/runlevels/default/chr-agent')).toBe('/etc/init.d/chr-agent');
    expect(existsSync(join(image, 'etc/runlevels/default/qemu-guest-agent'))).toBe(false);
  });

  it('busybox', () => {
    make(IMAGES.busybox ?? {});
    install();
    expect(text('etc/inittab')).toBe(
      '::sysinit:/etc/rcS\n::shutdown:/etc/init.d/chr-agent stop\n::shutdown:/bin/umount -a -r\n::respawn:/etc/init.d/chr-agent run\n',
    );
    expect(lstatSync(join(image, 'etc/init.d/chr-agent')).mode & 0o777).toBe(0o755);
  });

  it('nothing with --no-enable, and what --init says', () => {
    make(SYSTEMD);
    install('--no-enable');
    expect(existsSync(join(image, 'etc/systemd/system'))).toBe(false);
    install('--init', 'openrc');
    expect(link('etc/runlevels/default/chr-agent')).toBe('/etc/init.d/chr-agent');
  });
});

describe('care', () => {
  it('keeps the configuration, also without --purge', () => {
    make({ 'etc/chr-agent/agent.toml': '# mine\n' });
    expect(install().stdout).toContain('kept: /etc/chr-agent/agent.toml\n');
    expect(agent('uninstall', '--root', image).stdout).toContain('kept: /etc/chr-agent\n');
    expect(text('etc/chr-agent/agent.toml')).toBe('# mine\n');
  });

  it('replaces what is damaged, and removes what an older version had', () => {
    install();
    writeFileSync(join(image, 'usr/lib/chr-agent/dist/main.cjs'), 'damaged');
    const record = JSON.parse(text('usr/lib/chr-agent/installed.json'));
    record.files.push('usr/lib/chr-agent/dist/old.cjs');
    writeFileSync(join(image, 'usr/lib/chr-agent/installed.json'), JSON.stringify(record));
    make({ 'usr/lib/chr-agent/dist/old.cjs': '' });
    const { stdout } = install();
    expect(stdout).toContain('files: 1 copied');
    expect(stdout).toContain('removed: /usr/lib/chr-agent/dist/old.cjs');
    expect(existsSync(join(image, 'usr/lib/chr-agent/dist/old.cjs'))).toBe(false);
  });

  it('goes on where it was killed, at any moment', async () => {
    make(SYSTEMD);
    install();
    const wanted = snapshot();
    for (const file of ['installed.json', 'dist/node', 'dist/daemon.cjs', 'files']) {
      execFileSync('sh', ['-c', 'find "$1" -mindepth 1 -delete', 'sh', image]);
      make(SYSTEMD);
      const child = spawn(join(tree, AGENT), ['install', '--root', image], { stdio: 'ignore' });
      const ended = new Promise((resolve) => child.once('exit', resolve));
      const place = join(image, 'usr/lib/chr-agent', file);
      while (child.exitCode === null && !existsSync(place))
        await new Promise((resolve) => setImmediate(resolve));
      child.kill('SIGKILL');
      await ended;
      install();
      const clean = (state: string) => state.split('\n').filter((line) => !line.includes('installed.json'));
      expect(clean(snapshot())).toEqual(clean(wanted));
    }
  });

  it('leaves what links of the image lead to on this machine', () => {
    const outside = mkdtempSync(join(tmpdir(), 'install-outside-'));
    make({ etc: `-> ${outside}`, 'usr/lib': '-> ../../../../../../../..', ...{ 'sbin/init': 'x' } });
    expect(install('--init', 'systemd')).toMatchObject({ status: 0 });
    expect(execFileSync('ls', ['-A', outside], { encoding: 'utf8' })).toBe('');
    expect(existsSync(join(image, outside, 'chr-agent/agent.toml'))).toBe(true);
    expect(existsSync(join(image, 'chr-agent/dist/node'))).toBe(true);
    rmSync(outside, { recursive: true });
  });

  it('says what is missing before it changes anything', () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'image', image]);
    try {
      const { status, stderr } = install();
      expect(stderr).toMatch(/not enough space in \/: \d+ MiB needed, 16 MiB free/);
      expect(status).toBe(1);
      expect(
        snapshot()
          .split('\n')
          .filter((line) => line !== ''),
      ).toHaveLength(1);
    } finally {
      execFileSync('umount', [image]);
    }
  });

  it('does not touch this machine by mistake, nor what dpkg has installed', () => {
    expect(agent('install', '--root', '/')).toMatchObject({ status: 2 });
    expect(agent('uninstall', '--root', '/..')).toMatchObject({ status: 2 });
    expect(agent('install')).toMatchObject({ status: 2 });
    make({ 'var/lib/dpkg/info/chr-agent.list': '' });
    expect(install()).toMatchObject({ status: 1 });
    expect(agent('uninstall', '--root', image)).toMatchObject({ status: 1 });
  });
});
