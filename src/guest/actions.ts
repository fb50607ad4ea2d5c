/**
 * The one seam for everything that can hurt the machine: power, clock, freezing, CPUs and memory, passwords, ssh keys,
 * queueing disciplines. Nothing else in the agent may do these. In a run with `noActions` each is first held against the
 * policy (actions/policy.ts), and refused with an {@link ActionRefused} and one warning.
 *
 * Results: programs give a {@link ProgramResult}, system calls 0 (or a count) or `-errno`, as the native addon does.
 */
import { accessSync, constants, promises as fs } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../log.ts';
import type { NativeAddon, Trimmed } from '../native/addon.ts';
import type { FileOwner } from './actions/authorized-keys.ts';
import { inOwnNetworkNamespace, isInside, isOutsideInitialNamespace } from './actions/environment.ts';
import { type GuardProcess, startGuardProcess } from './actions/guard-process.ts';
import { type Action, ActionRefused, type PowerMode, refusal, type SuspendMode } from './actions/policy.ts';
import { negativeErrno } from './linux/system-error.ts';
import { createProgramRunner, type ProgramRequest, type ProgramResult, type RunProgram } from './program.ts';
import type { SuspendResult } from './suspend.ts';

export type { FileOwner } from './actions/authorized-keys.ts';
export type { GuardProcess } from './actions/guard-process.ts';
export { ActionRefused, type PowerMode, type SuspendMode } from './actions/policy.ts';

/** A mount point, opened read-only by whoever owns it. */
export interface OpenMount {
  mountPoint: string;
  fd: number;
}

export interface Actions {
  /** Shuts down or restarts by the system's own program, and waits for that program. */
  power(mode: PowerMode): Promise<ProgramResult>;
  /** Puts the machine to sleep. */
  suspend(mode: SuspendMode): Promise<SuspendResult>;
  /** Sets the system clock, ns since 1970: 0 or -errno. */
  setRealTimeClock(nanoseconds: bigint): number;
  /**
   * Sets the clock's rate: microseconds that it goes on in 1/100 s, 9,000 to 11,000, 10,000 is its own. An adjustment that
   * is under way (adjtime(3)) ends. 0 or -errno.
   */
  setClockTick(tick: number): number;
  /** hwclock: `to-rtc` writes the system time to the hardware clock (-w), `from-rtc` reads it (-s). */
  syncHardwareClock(direction: 'to-rtc' | 'from-rtc'): Promise<ProgramResult>;
  /**
   * Starts the guard, the program that freezes and thaws (native/helper/guard.c has its protocol); -errno if it cannot be
   * started. Before it is told to open a mount, {@link Actions.mayFreeze} is asked. In a run with `noActions` the guard
   * itself too refuses what is on no loop device.
   */
  startFreezeGuard(options: { helperPath: string; timeLimitMs: number }): GuardProcess | number;
  /** @throws {ActionRefused} if this run may not freeze, or thaw, that file system. */
  mayFreeze(action: 'freeze' | 'thaw', mount: { mountPoint: string; major: number }): void;
  /** FITRIM over the whole file system, extents of at least `minimumBytes` (0 to 2^64-1); or -errno. */
  trim(mount: OpenMount, minimumBytes: bigint): Promise<Trimmed | number>;
  /** 0 or -errno. */
  setCpuOnline(cpu: number, online: boolean): Promise<number>;
  /** 0 or -errno. Taking memory offline may last seconds, since the kernel moves its pages away. */
  setMemoryBlockOnline(block: number, online: boolean): Promise<number>;
  /** chpasswd. The caller has checked that the name has no colon or newline and the password no newline. */
  setPassword(user: string, password: Uint8Array, crypted: boolean): Promise<ProgramResult>;
  /**
   * Replaces `<home>/.ssh/authorized_keys` (directory 0700, file 0600, both the owner's): 0 or -errno. Symbolic links
   * that the user may have put there are not followed.
   */
  writeAuthorizedKeys(home: string, owner: FileOwner, content: string | Uint8Array): Promise<number>;
  /**
   * Sends a request about a queueing discipline (linux/netlink-tc.ts) to the kernel, in an open network namespace or (null)
   * in the own one: the kernel's answer, or -errno.
   */
  changeQdisc(namespaceFd: number | null, request: Uint8Array): Buffer | number;
  /** Why this run may not do that, or null: for who would otherwise ask, and be refused with a warning, all the time. */
  qdiscRefusal(namespaceFd: number | null): string | null;
}

export interface ActionsOptions {
  native: NativeAddon;
  log: Log;
  /** CHR_AGENT_NO_ACTIONS=1: this run must not hurt the machine. */
  noActions: boolean;
  /** CHR_AGENT_TEST_ROOT: below this directory a run with `noActions` may change ssh keys. */
  testRoot: string | null;
  /** Prefix of /proc and /sys, for tests. */
  root?: string;
  /** For tests. */
  runProgram?: RunProgram;
}

const POWER: Record<PowerMode, { program: string; shutdownOption: string }> = {
  powerdown: { program: '/sbin/poweroff', shutdownOption: '-P' },
  halt: { program: '/sbin/halt', shutdownOption: '-H' },
  reboot: { program: '/sbin/reboot', shutdownOption: '-r' },
};
/** Modes of adjtimex(2). */
const ADJ_TICK = 0x4000;
const ADJ_OFFSET_SINGLESHOT = 0x8001;
const CHPASSWD = ['/usr/sbin/chpasswd', '/sbin/chpasswd', '/usr/bin/chpasswd', '/bin/chpasswd'];

export function createActions(options: ActionsOptions): Actions {
  const { native, log, noActions, testRoot, root = '/' } = options;
  const run = options.runProgram ?? createProgramRunner(native);

  /** `describe` reads the facts; it is not called when everything is allowed. */
  function check(describe: () => Action): void {
    const reason = noActions ? refusal(describe()) : null;
    if (reason === null) return;
    const text = `refused: this run may not ${reason} (CHR_AGENT_NO_ACTIONS=1)`;
    log.warning(text);
    throw new ActionRefused(text);
  }

  function qdiscAction(namespaceFd: number | null): Action {
    const outsideInitial =
      namespaceFd === null ? inOwnNetworkNamespace(root) : isOutsideInitialNamespace(root, namespaceFd);
    return { kind: 'change-qdisc', outsideInitial };
  }

  return {
    async power(mode) {
      check(() => ({ kind: 'power', mode }));
      return run(powerRequest(mode));
    },
    async suspend(mode) {
      check(() => ({ kind: 'suspend', mode }));
      const { suspendMachine } = await import('./suspend.ts');
      const writePowerState = (word: string) => writeSysfs(join(root, 'sys/power/state'), word);
      return suspendMachine(mode, { run, writePowerState, log, root });
    },
    setRealTimeClock(nanoseconds) {
      check(() => ({ kind: 'set-clock' }));
      return native.setRealTimeClock(nanoseconds);
    },
    setClockTick(tick) {
      check(() => ({ kind: 'slew-clock' }));
      const [cancelled] = native.adjustClock(ADJ_OFFSET_SINGLESHOT, 0, 0);
      if (cancelled < 0) return cancelled;
      return Math.min(0, native.adjustClock(ADJ_TICK, 0, tick)[0]);
    },
    async syncHardwareClock(direction) {
      check(() => ({ kind: 'sync-hardware-clock' }));
      return run({ candidates: ['/sbin/hwclock'], args: [direction === 'to-rtc' ? '-w' : '-s'] });
    },
    startFreezeGuard({ helperPath, timeLimitMs }) {
      return startGuardProcess(native, helperPath, timeLimitMs, noActions);
    },
    mayFreeze(action, { mountPoint, major }) {
      check(() => ({ kind: action, mountPoint, deviceMajor: major }));
    },
    async trim({ mountPoint, fd }, minimumBytes) {
      check(() => ({ kind: 'trim', mountPoint }));
      return native.trim(fd, minimumBytes);
    },
    async setCpuOnline(cpu, online) {
      check(() => ({ kind: 'cpu', number: cpu, online }));
      return writeSysfs(join(root, `sys/devices/system/cpu/cpu${cpu}/online`), online ? '1' : '0');
    },
    async setMemoryBlockOnline(block, online) {
      check(() => ({ kind: 'memory-block', number: block, online }));
      const file = join(root, `sys/devices/system/memory/memory${block}/state`);
      return writeSysfs(file, online ? 'online' : 'offline');
    },
    async setPassword(user, password, crypted) {
      check(() => ({ kind: 'set-password', user }));
      const input = Buffer.concat([Buffer.from(`${user}:`), password, Buffer.from('\n')]);
      try {
        return await run({ candidates: CHPASSWD, args: crypted ? ['-e'] : [], input });
      } finally {
        input.fill(0);
      }
    },
    async writeAuthorizedKeys(home, owner, content) {
      check(() => ({ kind: 'write-authorized-keys', home, insideTestRoot: isInside(home, testRoot) }));
      const { replaceAuthorizedKeys } = await import('./actions/authorized-keys.ts');
      return replaceAuthorizedKeys(home, owner, content);
    },
    changeQdisc(namespaceFd, request) {
      check(() => qdiscAction(namespaceFd));
      const socket = native.netlinkOpen(namespaceFd ?? -1);
      if (socket < 0) return socket;
      try {
        return native.netlinkRequest(socket, request);
      } finally {
        native.close(socket);
      }
    },
    qdiscRefusal: (namespaceFd) => (noActions ? refusal(qdiscAction(namespaceFd)) : null),
  };
}

/** The program named after the mode if there is one, else shutdown(8). */
function powerRequest(mode: PowerMode): ProgramRequest {
  const { program, shutdownOption } = POWER[mode];
  try {
    accessSync(program, constants.X_OK);
    return { candidates: [program], args: [] };
  } catch {
    const args = ['-h', shutdownOption, '+0', 'hypervisor initiated shutdown'];
    return { candidates: ['/sbin/shutdown'], args };
  }
}

/** One write to an existing file of sysfs: 0 or -errno. */
async function writeSysfs(path: string, value: string): Promise<number> {
  try {
    await using file = await fs.open(path, constants.O_WRONLY);
    await file.write(value);
    return 0;
  } catch (error) {
    return negativeErrno(error);
  }
}
