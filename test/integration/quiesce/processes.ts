/** What the tests ask about processes. */
import { readdirSync, readFileSync } from 'node:fs';

/** Process ids of the guards that a process has started. */
export function guardsOf(parent: number): number[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      if (!/^\d+$/.test(name)) return [];
      const [, ppid] = readFileSync(`/proc/${name}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
      const isGuard = readFileSync(`/proc/${name}/cmdline`, 'latin1').startsWith('chr-agent-helper\0guard');
      return ppid === String(parent) && isGuard ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

/** Not for one that has ended and is not waited for. */
export function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/** Whether a thread of a process waits in the kernel where no signal reaches it. */
export function hasHangingThread(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).some((thread) =>
    /\) D/.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1')),
  );
}
