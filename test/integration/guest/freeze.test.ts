/**
 * FIFREEZE, FITHAW and FITRIM by way of the actions on an ext4 in a loop device that is made here, under an independent
 * watchdog that thaws it whatever happens to the test. Needs root and free loop devices.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ActionRefused, createActions } from '../../../src/guest/actions.ts';
import { native } from '../../../src/native/index.ts';

const possible =
  process.getuid?.() === 0 &&
  ['/sbin/mkfs.ext4', '/sbin/fsfreeze', '/dev/loop-control'].every((path) => existsSync(path));
const EBUSY = -16;
const EINVAL = -22;

describe.skipIf(!possible)('freezing a loop device', () => {
  const warnings: string[] = [];
  const ignore = () => {};
  const log = { error: ignore, info: ignore, debug: ignore, warning: (text: string) => warnings.push(text) };
  const actions = createActions({ native, log, noActions: true, testRoot: null });
  let folder: string;
  let mountPoint: string;
  let mounted = false;
  let fd = -1;
  let watchdog: ReturnType<typeof spawn> | null = null;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'chr-agent-freeze-'));
    mountPoint = join(folder, 'mount');
    mkdirSync(mountPoint);
    const image = join(folder, 'image');
    writeFileSync(image, '');
    truncateSync(image, 16 * 1024 * 1024);
    execFileSync('/sbin/mkfs.ext4', ['-q', '-F', image]);
    execFileSync('mount', ['-o', 'loop', image, mountPoint]);
    mounted = true;
    const thawAfter = `sleep 20; while fsfreeze -u ${mountPoint}; do :; done`;
    watchdog = spawn('/bin/sh', ['-c', thawAfter], { detached: true, stdio: 'ignore' });
    fd = openSync(mountPoint, 'r');
  });

  afterAll(async () => {
    if (fd >= 0) {
      await native.thaw(fd);
      closeSync(fd);
    }
    if (mounted) execFileSync('umount', [mountPoint]);
    if (watchdog?.pid) process.kill(-watchdog.pid, 'SIGKILL');
    rmSync(folder, { recursive: true });
  });

  it('freezes once, thaws once', async () => {
    const mount = { mountPoint, fd };
    expect(await actions.freeze(mount)).toBe(0);
    expect(await actions.freeze(mount)).toBe(EBUSY);
    expect(await actions.thaw(mount)).toBe(0);
    expect(await actions.thaw(mount)).toBe(EINVAL);
    writeFileSync(join(mountPoint, 'file'), 'writable again');
  });

  it('trims', async () => {
    expect(await actions.trim({ mountPoint, fd }, 0n)).toMatchObject({ trimmedBytes: expect.any(BigInt) });
  });

  it('the root file system is refused', async () => {
    const rootFd = openSync('/', 'r');
    try {
      await expect(actions.freeze({ mountPoint: '/', fd: rootFd })).rejects.toThrow(ActionRefused);
      await expect(actions.thaw({ mountPoint: '/', fd: rootFd })).rejects.toThrow(ActionRefused);
    } finally {
      closeSync(rootFd);
    }
    expect(warnings).toHaveLength(2);
  });
});
