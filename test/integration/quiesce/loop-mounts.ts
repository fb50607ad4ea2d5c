/**
 * File systems in loop devices, the only ones that these tests freeze, each under a watchdog of its own: a separate process
 * that holds the mount open and thaws it after 30 s, whatever becomes of the test. Needs root and free loop devices.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Mount, readMounts } from '../../../src/guest/mounts.ts';

export const canMount =
  process.getuid?.() === 0 &&
  ['/sbin/mkfs.ext4', '/sbin/fsfreeze', '/dev/loop-control'].every((path) => existsSync(path));
export const hasXfs = ['/sbin/mkfs.xfs', '/usr/sbin/mkfs.xfs'].some((path) => existsSync(path));

const MIB = 1024 * 1024;
const WATCHDOG_SECONDS = 30;

export class LoopMounts {
  readonly directory = mkdtempSync(join(tmpdir(), 'chr-agent-quiesce-'));
  /** Mount points, in the order in which to unmount. */
  readonly #mounted: string[] = [];
  #watchdogs: ChildProcess[] = [];

  /** Makes and mounts one; the image lies in `imageDirectory`, which may be another loop mount. */
  add(name: string, type: 'ext4' | 'xfs' = 'ext4', imageDirectory = this.directory, sizeMib = 32): string {
    const image = join(imageDirectory, `${name}.image`);
    writeFileSync(image, '');
    truncateSync(image, (type === 'xfs' ? 320 : sizeMib) * MIB);
    execFileSync(`mkfs.${type}`, type === 'xfs' ? ['-q', image] : ['-q', '-F', image]);
    return this.mount(name, ['-o', 'loop', image]);
  }

  /** Mounts whatever `args` say at a new directory. */
  mount(name: string, args: string[]): string {
    const mountPoint = join(this.directory, name);
    mkdirSync(mountPoint);
    execFileSync('mount', [...args, mountPoint]);
    this.#mounted.unshift(mountPoint);
    return mountPoint;
  }

  /** Call before each test that freezes. */
  armWatchdogs(): void {
    const next = this.#mounted.map((mountPoint) =>
      spawn(
        '/bin/sh',
        [
          '-c',
          `exec 9<"$1"; sleep ${WATCHDOG_SECONDS}; while fsfreeze -u "$1"; do :; done`,
          'watchdog',
          mountPoint,
        ],
        { detached: true, stdio: 'ignore' },
      ),
    );
    this.#stopWatchdogs();
    this.#watchdogs = next;
  }

  #stopWatchdogs(): void {
    for (const { pid } of this.#watchdogs) if (pid !== undefined) process.kill(-pid, 'SIGKILL');
    this.#watchdogs = [];
  }

  /** The only mounts that a quiescer in these tests may see. */
  readMounts = (): Mount[] =>
    readMounts().filter(({ mountPoint }) => mountPoint.startsWith(`${this.directory}/`));

  /** Thaws what a failed test left frozen. @returns whether anything was */
  thawAll(): boolean {
    let any = false;
    for (const mountPoint of [...this.#mounted].reverse()) {
      try {
        for (;;) {
          execFileSync('fsfreeze', ['-u', mountPoint], { stdio: 'ignore' });
          any = true;
        }
      } catch {
        // it is not frozen, or no longer
      }
    }
    return any;
  }

  async remove(): Promise<void> {
    this.thawAll();
    this.#stopWatchdogs();
    for (const mountPoint of this.#mounted) await unmount(mountPoint);
    rmSync(this.directory, { recursive: true });
  }
}

/** Who was killed may hold it a little longer; who took it along into a mount namespace of his own, as long as he lives. */
async function unmount(mountPoint: string): Promise<void> {
  for (let tries = 0; tries < 20; tries += 1) {
    try {
      execFileSync('umount', [mountPoint], { stdio: 'ignore' });
      return;
    } catch {
      await delay(50);
    }
  }
  execFileSync('umount', ['-l', mountPoint]);
}

/** A process that writes one file, and waits as long as its file system is frozen. */
export class Writer {
  readonly #process: ChildProcess;
  #ended = false;
  readonly done: Promise<void>;

  constructor(mountPoint: string) {
    this.#process = spawn('/bin/sh', ['-c', `echo written > "$1/writer"`, 'writer', mountPoint], {
      stdio: 'ignore',
    });
    this.done = new Promise((resolve, reject) => {
      this.#process.once('exit', (code) => {
        this.#ended = true;
        if (code === 0) resolve();
        else reject(new Error(`the writer failed with ${code}`));
      });
    });
  }

  /** Whether it still waits after a time in which it would be through. */
  async isHeldUp(): Promise<boolean> {
    await Promise.race([this.done, delay(300)]);
    return !this.#ended;
  }
}

/** Whether a write is held up now; leaves a writer behind that goes on with the thaw. */
export const isFrozen = (mountPoint: string): Promise<boolean> => new Writer(mountPoint).isHeldUp();

export async function until(what: string, condition: () => boolean, limitMs = 10_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`in vain: ${what}`);
    await delay(10);
  }
}
