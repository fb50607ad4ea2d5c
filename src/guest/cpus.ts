/**
 * The processors: which there are, what they spent their time on, and switching them on and off. From /proc/stat and
 * /sys/devices/system/cpu (kernel: Documentation/admin-guide/cputopology.rst, cpu-hotplug.rst).
 */
import { closeSync, constants, readSync } from 'node:fs';
import { join } from 'node:path';
import type { Actions } from './actions.ts';
import { checkDirectory, listKernelDirectory, openKernelFile, readKernelFile } from './linux/kernel-file.ts';
import { parseCpuTicks, TICKS_PER_SECOND } from './linux/procfs.ts';
import { asSystemCallError, isSystemCallError, SystemCallError } from './linux/system-call-error.ts';

export interface Cpu {
  number: number;
  online: boolean;
  canOffline: boolean;
}

/** Since boot. What an old kernel does not count is undefined. */
export interface CpuTimes {
  cpu: number;
  userMs: bigint;
  niceMs: bigint;
  systemMs: bigint;
  idleMs: bigint;
  ioWaitMs: bigint | undefined;
  irqMs: bigint | undefined;
  softIrqMs: bigint | undefined;
  stealMs: bigint | undefined;
  guestMs: bigint | undefined;
  guestNiceMs: bigint | undefined;
}

/** `done` also when the CPU was in that state already. */
export type CpuSwitch =
  | { kind: 'done' }
  | { kind: 'cannot-offline' }
  | { kind: 'failed'; error: SystemCallError };

const CPU_DIRECTORY = 'sys/devices/system/cpu';
const ENOENT = 2;
const OFFLINE = 0x30;

/** Of the CPUs that are online, in their order. @throws {SystemCallError} */
export function cpuTimes(root = '/'): CpuTimes[] {
  return parseCpuTicks(readKernelFile(join(root, 'proc/stat'))).map(({ cpu, ticks }) => {
    const [user = 0n, nice = 0n, system = 0n, idle = 0n, ...others] = ticks.map(
      (count) => (count * 1000n) / TICKS_PER_SECOND,
    );
    const [ioWaitMs, irqMs, softIrqMs, stealMs, guestMs, guestNiceMs] = others;
    return {
      cpu,
      userMs: user,
      niceMs: nice,
      systemMs: system,
      idleMs: idle,
      ioWaitMs,
      irqMs,
      softIrqMs,
      stealMs,
      guestMs,
      guestNiceMs,
    };
  });
}

/** All CPUs that the kernel knows, in the kernel's order, which is not that of their numbers. @throws {SystemCallError} */
export function cpus(root = '/'): Cpu[] {
  const directory = join(root, CPU_DIRECTORY);
  return listKernelDirectory(directory).flatMap((name) => {
    if (!/^cpu\d+$/.test(name)) return [];
    const state = readSwitch(`${directory}/${name}/`, constants.O_RDONLY);
    return [{ number: Number(name.slice(3)), online: state ?? true, canOffline: state !== null }];
  });
}

/**
 * Takes a CPU online or offline. A CPU without a switch counts as switched on.
 *
 * @param number any number, also of a CPU that does not exist.
 * @throws {ActionRefused}
 */
export async function switchCpu(
  number: bigint,
  online: boolean,
  { actions, root = '/' }: { actions: Pick<Actions, 'setCpuOnline'>; root?: string },
): Promise<CpuSwitch> {
  const directory = `${join(root, CPU_DIRECTORY)}/cpu${number}/`;
  let state: boolean | null;
  try {
    // writable, so that a read-only sysfs is found out before anything is tried
    state = readSwitch(directory, constants.O_RDWR);
  } catch (error) {
    if (error instanceof SystemCallError) return { kind: 'failed', error };
    throw error;
  }
  if (state === null) return online ? { kind: 'done' } : { kind: 'cannot-offline' };
  if (state === online) return { kind: 'done' };
  const result = await actions.setCpuOnline(Number(number), online);
  if (result >= 0) return { kind: 'done' };
  return { kind: 'failed', error: new SystemCallError('write', switchOf(directory), -result) };
}

/** @param directory ends with a slash, and one more follows: the path is shown in errors as qemu-ga shows it. */
const switchOf = (directory: string) => `${directory}/online`;

/** Whether the CPU is online, or null if it has no switch. @throws {SystemCallError} */
function readSwitch(directory: string, flags: number): boolean | null {
  const path = switchOf(directory);
  checkDirectory(directory);
  let fd: number;
  try {
    fd = openKernelFile(path, flags);
  } catch (error) {
    if (isSystemCallError(error, ENOENT)) return null;
    throw error;
  }
  try {
    const byte = Buffer.alloc(1);
    if (readSync(fd, byte, 0, 1, 0) === 0) throw new SystemCallError('read', path, 0);
    return byte[0] !== OFFLINE;
  } catch (error) {
    throw asSystemCallError(error, path);
  } finally {
    closeSync(fd);
  }
}
