import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openImageRoot } from '../../../src/install/image-root.ts';
import { addLine, detectInitSystem, planEnabling, removeLine } from '../../../src/install/init-system.ts';
import { findOtherServices } from '../../../src/install/other-agents.ts';

let image: string;
beforeEach(() => {
  image = mkdtempSync(join(tmpdir(), 'init-system-'));
});
afterEach(() => rmSync(image, { recursive: true }));

/** A value with `-> ` is a link's target, else a file's text. */
function make(files: Record<string, string>) {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(image, path)), { recursive: true });
    if (content.startsWith('-> ')) symlinkSync(content.slice(3), join(image, path));
    else writeFileSync(join(image, path), content);
  }
  return openImageRoot(image);
}

const SYSTEMD = { 'usr/lib/systemd/systemd': '', 'sbin/init': '-> /usr/lib/systemd/systemd' };

describe('detection', () => {
  it.each<[string, Record<string, string>, string]>([
    ['systemd', SYSTEMD, 'systemd'],
    [
      'systemd, /sbin merged',
      { 'usr/lib/systemd/systemd': '', 'usr/sbin/init': '-> ../lib/systemd/systemd', sbin: '-> usr/sbin' },
      'systemd',
    ],
    ['systemd with rc directories of sysv services', { ...SYSTEMD, 'etc/rc2.d/S01x': '' }, 'systemd'],
    ['systemd without /sbin/init', { 'lib/systemd/systemd': '' }, 'systemd'],
    [
      'Alpine',
      {
        'bin/busybox': '',
        'sbin/init': '-> /bin/busybox',
        'sbin/openrc-run': '',
        'etc/inittab': '::sysinit:/sbin/openrc sysinit\n',
      },
      'openrc',
    ],
    [
      'Gentoo',
      { 'sbin/init': 'sysvinit', 'sbin/openrc-run': '', 'etc/inittab': 'l3:3:wait:/sbin/openrc default\n' },
      'openrc',
    ],
    [
      'openrc-init',
      { 'sbin/openrc-init': '', 'sbin/init': '-> openrc-init', 'sbin/openrc-run': '' },
      'openrc',
    ],
    [
      'OpenRC only in a comment',
      {
        'bin/busybox': '',
        'sbin/init': '-> ../bin/busybox',
        'sbin/openrc-run': '',
        'etc/inittab': '# openrc\n',
      },
      'busybox',
    ],
    ['busybox', { 'bin/busybox': '', 'sbin/init': '-> /bin/busybox' }, 'busybox'],
    ['busybox as /init of an initramfs', { 'bin/busybox': '', init: '-> bin/busybox' }, 'busybox'],
    [
      'busybox under another name',
      { 'sbin/init': 'ELF', 'etc/inittab': '::sysinit:/etc/init.d/rcS\n' },
      'busybox',
    ],
    ['sysv', { 'sbin/init': 'ELF', 'etc/rc2.d/S01x': '', 'etc/inittab': 'id:2:initdefault:\n' }, 'sysv'],
    ['a broken link', { 'sbin/init': '-> /nowhere' }, 'none'],
    ['an empty directory', {}, 'none'],
  ])('%s', (_what, files, expected) => {
    expect(detectInitSystem(make(files))).toBe(expected);
  });
});

describe('lines', () => {
  const SHUTDOWN = '::shutdown:/etc/init.d/chr-agent stop';
  it('a shutdown action comes before the others, which unmount', () => {
    const text = '::sysinit:/etc/rcS\n::shutdown:/bin/umount -a -r\n';
    expect(addLine(text, SHUTDOWN)).toBe(`::sysinit:/etc/rcS\n${SHUTDOWN}\n::shutdown:/bin/umount -a -r\n`);
  });
  it('others come at the end, with or without a last newline', () => {
    expect(addLine('a\n', '::respawn:x')).toBe('a\n::respawn:x\n');
    expect(addLine('a', '::respawn:x')).toBe('a\n::respawn:x\n');
    expect(addLine('', '::respawn:x')).toBe('::respawn:x\n');
  });
  it('a script is not added to after its exit', () => {
    expect(addLine('#!/bin/sh\nmount -a\nexit 0\n', 'agent start')).toBe(
      '#!/bin/sh\nmount -a\nagent start\nexit 0\n',
    );
  });
  it('once', () => {
    expect(addLine(addLine('a\n', SHUTDOWN), SHUTDOWN)).toBe(addLine('a\n', SHUTDOWN));
    expect(removeLine(addLine('a\nb\n', SHUTDOWN), SHUTDOWN)).toBe('a\nb\n');
  });
});

describe('enabling', () => {
  it("Buildroot's rcS gets a link, another one a line", () => {
    const buildroot = make({ 'etc/init.d/rcS': 'for i in /etc/init.d/S??* ;do\n' });
    expect(planEnabling(buildroot, 'busybox').steps).toContainEqual({
      kind: 'link',
      path: 'etc/init.d/S15chr-agent',
      target: 'chr-agent',
    });
  });
  it('warns of a mask, and of what it cannot do', () => {
    const masked = make({ 'etc/systemd/system/chr-agent.service': '-> /dev/null' });
    expect(planEnabling(masked, 'systemd').warnings).toHaveLength(1);
    expect(planEnabling(masked, 'none').warnings).toHaveLength(1);
    expect(planEnabling(masked, 'busybox').warnings).toHaveLength(1);
  });
});

describe('other agents', () => {
  const names = (files: Record<string, string>, init: Parameters<typeof findOtherServices>[1]) =>
    findOtherServices(make(files), init).map(({ name, disabling }) => [name, disabling.length > 0]);

  it('systemd units, unless they are masked', () => {
    const files = {
      'lib/systemd/system/qemu-guest-agent.service': '',
      'usr/lib/systemd/system/open-vm-tools.service': '',
      'usr/lib/systemd/system/xe-daemon.service': '',
      'etc/systemd/system/xe-daemon.service': '-> /dev/null',
      'etc/systemd/system/vgauth.service': 'own',
    };
    expect(names(files, 'systemd')).toEqual([
      ['qemu-guest-agent.service', true],
      ['open-vm-tools.service', true],
      ['vgauth.service', false],
    ]);
  });
  it('OpenRC, rc links and inittab', () => {
    const files = {
      'etc/runlevels/default/qemu-guest-agent': '-> /etc/init.d/qemu-guest-agent',
      'etc/rc3.d/S80xe-linux-distribution': '-> ../init.d/xe-linux-distribution',
      'etc/inittab': '# ::respawn:/usr/bin/qemu-ga\n::respawn:/usr/bin/vmtoolsd\n',
    };
    expect(names(files, 'openrc')).toEqual([['/etc/runlevels/default/qemu-guest-agent', true]]);
    rmSync(image, { recursive: true });
    expect(names(files, 'sysv')).toEqual([
      ['/etc/rc3.d/S80xe-linux-distribution', true],
      ['/etc/inittab: ::respawn:/usr/bin/vmtoolsd', false],
    ]);
  });
});
