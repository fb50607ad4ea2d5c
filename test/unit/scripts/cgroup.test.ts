import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findOwnCgroup } from '../../../src/scripts/cgroup.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'chr-agent-cgroup-'));
  mkdirSync(join(root, 'proc/self'), { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const mount = (mountRoot: string, at: string, type: string) =>
  `30 23 0:27 ${mountRoot} ${at} rw,nosuid shared:9 - ${type} cgroup2 rw,nsdelegate\n`;

function machine(cgroups: string, mountinfo: string, directory?: string): void {
  writeFileSync(join(root, 'proc/self/cgroup'), cgroups);
  writeFileSync(join(root, 'proc/self/mountinfo'), `22 1 8:1 / / rw - ext4 /dev/sda1 rw\n${mountinfo}`);
  if (directory === undefined) return;
  mkdirSync(join(root, directory), { recursive: true });
  writeFileSync(join(root, directory, 'cgroup.procs'), '');
}

describe("the daemon's own cgroup2 directory", () => {
  const service = '0::/system.slice/chr-agent.service\n';
  const place = 'sys/fs/cgroup/system.slice/chr-agent.service';
  it('is found under systemd', async () => {
    machine(service, mount('/', '/sys/fs/cgroup', 'cgroup2'), place);
    expect(findOwnCgroup(root)).toBe(join(root, place));
  });
  it('is found in a mount of a part of the hierarchy', async () => {
    machine(service, mount('/system.slice', '/cg', 'cgroup2'), 'cg/chr-agent.service');
    expect(findOwnCgroup(root)).toBe(join(root, 'cg/chr-agent.service'));
  });
  it('is found beside version 1', async () => {
    machine(
      `4:memory:/a\n${service}`,
      mount('/', '/sys/fs/cgroup/unified', 'cgroup2'),
      `sys/fs/cgroup/unified${place.slice('sys/fs/cgroup'.length)}`,
    );
    expect(findOwnCgroup(root)).toContain('/unified/system.slice');
  });
  it('is null without cgroup2, its directory, or /proc', async () => {
    machine('4:memory:/a\n', mount('/', '/sys/fs/cgroup', 'cgroup2'), place);
    expect(findOwnCgroup(root)).toBeNull();
    machine(service, mount('/', '/sys/fs/cgroup', 'cgroup'), place);
    expect(findOwnCgroup(root)).toBeNull();
    machine('0::/other\n', mount('/', '/sys/fs/cgroup', 'cgroup2'), place);
    expect(findOwnCgroup(root)).toBeNull();
    expect(findOwnCgroup(join(root, 'missing'))).toBeNull();
  });
});
