/**
 * Puts the machine to sleep in the ways that a distribution may have, in qemu-ga's order (spec qemu-ga.md section 5): systemd,
 * pm-utils, the kernel. Only `actions` calls this.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../log.ts';
import type { SuspendMode } from './actions/policy.ts';
import type { ProgramResult, RunProgram } from './program.ts';

/** `errno` is positive. `done` comes when the machine is awake again, or already when its going to sleep was arranged. */
export type SuspendResult = { kind: 'done' } | { kind: 'unsupported' } | { kind: 'failed'; errno: number };

export interface SuspendOptions {
  run: RunProgram;
  /** Writes to /sys/power/state: 0 or -errno. */
  writePowerState(word: string): Promise<number>;
  log: Log;
  /** Prefix of /sys. */
  root: string;
}

interface Way {
  unit: string;
  systemctlVerb: string;
  pmOption: string;
  pmProgram: string;
  /** Word of /sys/power/state; the kernel alone knows no hybrid sleep. */
  kernelWord: string | null;
}

const WAYS: Record<SuspendMode, Way> = {
  disk: {
    unit: 'systemd-hibernate',
    systemctlVerb: 'hibernate',
    pmOption: '--hibernate',
    pmProgram: 'pm-hibernate',
    kernelWord: 'disk',
  },
  ram: {
    unit: 'systemd-suspend',
    systemctlVerb: 'suspend',
    pmOption: '--suspend',
    pmProgram: 'pm-suspend',
    kernelWord: 'mem',
  },
  hybrid: {
    unit: 'systemd-hybrid-sleep',
    systemctlVerb: 'hybrid-sleep',
    pmOption: '--suspend-hybrid',
    pmProgram: 'pm-suspend-hybrid',
    kernelWord: null,
  },
};

/** A way that fails is logged, and the next is tried. */
export async function suspendMachine(mode: SuspendMode, options: SuspendOptions): Promise<SuspendResult> {
  const { log, root, writePowerState } = options;
  const way = WAYS[mode];
  const run = (name: string, ...args: string[]) =>
    options.run({
      candidates: ['/usr/bin', '/bin', '/usr/sbin', '/sbin'].map((dir) => `${dir}/${name}`),
      args,
    });
  const worked = (result: ProgramResult, what: string) => {
    const isSuccess = result.kind === 'exited' && result.code === 0;
    if (!isSuccess) log.warning(`${what} failed: ${outcomeText(result)}`);
    return isSuccess;
  };

  // of `systemctl status`: 1 to 3 is a unit that does not run, 4 one that does not exist
  const status = await run('systemctl', 'status', way.unit);
  if (status.kind === 'exited' && status.code >= 1 && status.code <= 3) {
    const result = await run('systemctl', way.systemctlVerb);
    if (worked(result, `systemctl ${way.systemctlVerb}`)) return { kind: 'done' };
  }
  const supported = await run('pm-is-supported', way.pmOption);
  if (supported.kind === 'exited' && supported.code === 0) {
    if (worked(await run(way.pmProgram), way.pmProgram)) return { kind: 'done' };
  }
  if (way.kernelWord === null || !kernelStates(root).includes(way.kernelWord)) return { kind: 'unsupported' };
  const result = await writePowerState(way.kernelWord);
  return result >= 0 ? { kind: 'done' } : { kind: 'failed', errno: -result };
}

function kernelStates(root: string): string[] {
  try {
    return readFileSync(join(root, 'sys/power/state'), 'latin1').trim().split(/\s+/);
  } catch {
    // a kernel that cannot sleep
    return [];
  }
}

function outcomeText(result: ProgramResult): string {
  switch (result.kind) {
    case 'exited':
      return `exit status ${result.code} ${result.output.toString().trim()}`.trimEnd();
    case 'signaled':
      return `signal ${result.signal}`;
    case 'not-started':
      return `errno ${result.errno}`;
  }
}
