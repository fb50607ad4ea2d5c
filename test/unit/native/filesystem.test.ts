/**
 * freeze, thaw and trim, only on file systems that the test makes in image files of its own. Two of them, one within
 * the other: while the outer one is frozen, whatever must write to the inner one hangs, as on a lost disk.
 */
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { stat, statfs } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';

const { errno } = constants;
const addonModule = JSON.stringify(new URL('../../../src/native/index.ts', import.meta.url).href);
const folder = mkdtempSync(join(tmpdir(), 'freeze-'));
const outer = join(folder, 'outer');
const inner = join(folder, 'inner');
const mounted: string[] = [];
let unavailable = '';
let stopWatchdog = () => {};

function problem(result: SpawnSyncReturns<string>): string {
  return result.status === 0 ? '' : `${result.error?.message ?? result.stderr}`.trim();
}

/** Makes an image with an ext4 in it and mounts it; the reason if that does not work. */
function mount(image: string, bytes: number, place: string): string {
  mkdirSync(place);
  writeFileSync(image, '');
  truncateSync(image, bytes);
  const steps = [
    ['mkfs.ext4', '-q', '-F', image],
    ['mount', '-o', 'loop', image, place],
  ];
  for (const [program = '', ...args] of steps) {
    const reason = problem(spawnSync(program, args, { encoding: 'utf8' }));
    if (reason) return reason;
  }
  mounted.push(place);
  return '';
}

beforeAll(() => {
  if (process.getuid?.() !== 0) unavailable = 'not root';
  else if (spawnSync('fsfreeze', ['--version']).status !== 0) unavailable = 'no fsfreeze for the watchdog';
  else
    unavailable =
      mount(join(folder, 'outer.img'), 64 << 20, outer) || mount(join(outer, 'inner.img'), 32 << 20, inner);
  if (unavailable) return;
  // thaws whatever becomes of this process; in a session of its own, its files are not on what it thaws
  const watchdog = spawn(
    'sh',
    ['-c', 'sleep 15; for i in 1 2 3; do fsfreeze -u "$0"; fsfreeze -u "$1"; sleep 1; done', outer, inner],
    {
      detached: true,
      stdio: 'ignore',
    },
  );
  watchdog.unref();
  stopWatchdog = () => {
    if (watchdog.pid) process.kill(-watchdog.pid, 'SIGKILL');
  };
});
beforeEach((context) => {
  if (unavailable) context.skip(unavailable);
});
afterAll(async () => {
  // more than once frozen is possible only by a bug; umount of a frozen file system would block
  for (const place of mounted) while (spawnSync('fsfreeze', ['-u', place]).status === 0);
  for (const place of mounted.reverse()) await unmount(place);
  stopWatchdog();
  rmSync(folder, { recursive: true });
});

/** The loop device of the inner one may hold its image a moment longer than its mount. */
async function unmount(place: string): Promise<void> {
  for (let tries = 0; tries < 40 && spawnSync('umount', [place]).status !== 0; tries++) await sleep(50);
}

async function withDirectory(path: string, use: (fd: number) => Promise<void>): Promise<void> {
  const fd = openSync(path, 'r');
  try {
    await use(fd);
  } finally {
    closeSync(fd);
  }
}

const threads = () => readdirSync('/proc/self/task').length;

describe('file systems', () => {
  it('are frozen and thawed', () =>
    withDirectory(inner, async (fd) => {
      expect(await native.freeze(fd)).toBe(0);
      try {
        expect(await native.freeze(fd)).toBe(-errno.EBUSY);
      } finally {
        expect(await native.thaw(fd)).toBe(0);
      }
      expect(await native.thaw(fd)).toBe(-errno.EINVAL);
    }));

  it('are trimmed', () =>
    withDirectory(inner, async (fd) => {
      const trimmed = await native.trim(fd, 0n);
      if (typeof trimmed === 'number') throw new Error(native.errorText(trimmed));
      expect(trimmed.trimmedBytes).toBeGreaterThan(1n << 20n);
      expect(trimmed.trimmedBytes).toBeLessThan(32n << 20n);
      // nothing is that large
      expect(await native.trim(fd, 1n << 30n)).toBe(-errno.EINVAL);
    }));

  it('may hang without holding up anything else', () =>
    withDirectory(outer, (outerFd) =>
      withDirectory(inner, async (innerFd) => {
        const before = threads();
        expect(await native.freeze(outerFd)).toBe(0);
        let finished = 0;
        const hanging: Promise<number>[] = [];
        try {
          writeFileSync(join(inner, 'dirty'), 'must be written before the freeze');
          for (let count = 0; count < 8; count++) {
            hanging.push(native.freeze(innerFd).finally(() => finished++));
          }
          await sleep(100);
          expect(finished).toBe(0);
          // libuv's pool has four threads
          await Promise.all([1, 2, 3, 4, 5, 6].map(() => stat('/proc/self')));
        } finally {
          expect(await native.thaw(outerFd)).toBe(0);
        }
        const results = await Promise.all(hanging);
        expect(results.filter((result) => result === 0)).toHaveLength(1);
        expect(results.filter((result) => result === -errno.EBUSY)).toHaveLength(7);
        expect(await native.thaw(innerFd)).toBe(0);
        await sleep(20);
        expect(threads()).toBeLessThanOrEqual(before + 4);
      }),
    ));

  it('may hang while the environment ends', () =>
    withDirectory(outer, (outerFd) =>
      withDirectory(inner, async (innerFd) => {
        expect(await native.freeze(outerFd)).toBe(0);
        try {
          writeFileSync(join(inner, 'dirty'), 'again');
          const program = `import(${addonModule}).then(({ native }) => {
            native.freeze(${innerFd}).then(() => require('node:worker_threads').parentPort.postMessage('too early'));
            require('node:worker_threads').parentPort.postMessage('hangs');
          });`;
          const worker = new Worker(program, { eval: true });
          const messages: unknown[] = [];
          worker.on('message', (message) => messages.push(message));
          await new Promise((resolve) => worker.once('message', resolve));
          await sleep(50);
          await worker.terminate();
          expect(messages).toEqual(['hangs']);
        } finally {
          expect(await native.thaw(outerFd)).toBe(0);
        }
        // the thread that nobody waits for froze it in the end
        let result = -errno.EINVAL;
        for (let tries = 0; tries < 100 && result === -errno.EINVAL; tries++) {
          await sleep(10);
          result = await native.thaw(innerFd);
        }
        expect(result).toBe(0);
      }),
    ));
});

describe('other descriptors', () => {
  it('give -errno', async () => {
    expect(await native.thaw(-1)).toBe(-errno.EBADF);
    expect(await native.trim(-1, 0n)).toBe(-errno.EBADF);
    await withDirectory('/proc', async (fd) => {
      expect(await native.thaw(fd)).toBeLessThan(0);
      expect(await native.trim(fd, 0n)).toBe(-errno.ENOTTY);
    });
  });
});

describe('the size of a file system', () => {
  it('is given in blocks', async () => {
    const size = await native.statfs(tmpdir());
    const expected = await statfs(tmpdir(), { bigint: true });
    expect(size).toMatchObject({ blocks: expected.blocks, blockBytes: expected.bsize });
  });

  it('is -errno for what is not there', async () => {
    expect(await native.statfs('/nowhere')).toBe(-errno.ENOENT);
    expect(await native.statfs(`/${'x'.repeat(5000)}`)).toBe(-errno.ENAMETOOLONG);
  });
});

describe('a log page of an NVMe disk', () => {
  it('is -errno from anything else', async () => {
    expect(await native.nvmeLogPage('/nowhere', 2, 512)).toBe(-errno.ENOENT);
    expect(await native.nvmeLogPage('/dev/null', 2, 512)).toBe(-errno.ENOTTY);
  });

  it('has a number and a length in range', () => {
    expect(() => native.nvmeLogPage('/dev/null', 256, 512)).toThrow(RangeError);
    expect(() => native.nvmeLogPage('/dev/null', 2, 4100)).toThrow(RangeError);
    expect(() => native.nvmeLogPage('/dev/null', 2, 510)).toThrow(RangeError);
  });
});
