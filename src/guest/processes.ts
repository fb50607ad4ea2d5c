/** The processes of the system from /proc: who, what, since when (proc(5)). */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Process {
  readonly pid: number;
  /** The program's name: of its first argument, or the kernel's for it. */
  readonly command: string;
  /** The arguments joined by blanks; of a kernel thread, its name. */
  readonly commandLine: string;
  /** Who it runs as. */
  readonly uid: number;
  /** Clock ticks after the boot: with the pid, what tells one process from another. */
  readonly startTicks: number;
}

/** In the order of their ids. What ends meanwhile is left out. Not while frozen. */
export function processes(root = '/'): Process[] {
  return readdirSync(join(root, 'proc'))
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .sort((left, right) => left - right)
    .flatMap((pid) => processOf(pid, root) ?? []);
}

/** null: there is none. Not while frozen. */
export function processOf(pid: number, root = '/'): Process | null {
  const read = (name: string): string => readFileSync(join(root, 'proc', String(pid), name), 'utf8');
  try {
    const stat = read('stat');
    // the name is in brackets, and may hold any
    const nameEnd = stat.lastIndexOf(')');
    const name = stat.slice(stat.indexOf('(') + 1, nameEnd);
    const [state, ...rest] = stat.slice(nameEnd + 2).split(' ');
    if (state === 'Z' || state === 'X') return null;
    const uid = Number(/^Uid:\t(\d+)/m.exec(read('status'))?.[1]);
    const argv = read('cmdline').replace(/\0+$/, '').split('\0');
    const program = argv[0] ?? '';
    return {
      pid,
      command: program === '' ? name : (program.split('/').at(-1) ?? name),
      commandLine: program === '' ? name : argv.join(' '),
      uid,
      // field 22 of proc(5), the state being the third
      startTicks: Number(rest[18]),
    };
  } catch {
    return null;
  }
}
