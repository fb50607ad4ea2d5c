/** The machine and the programs, as far as others need to know to compare: no host name, no paths. */
import { execFileSync } from 'node:child_process';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';

export interface Machine {
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly node: string;
  readonly chrAgent: string;
  readonly qemuGa: string | null;
  /** Of the last minute before the run: others at work make the figures worse. */
  readonly loadAtStart: number;
}

/** The runtime that is shipped beside bin/chr-agent. */
export function nodeOf(program: string): string {
  return join(dirname(program), '../dist/node');
}

export function describeMachine(program: string, hasPeer: boolean): Machine {
  const processors = cpus();
  const versionOf = (file: string) => execFileSync(file, ['--version'], { encoding: 'utf8' }).trim();
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: versionOf(nodeOf(program)),
    chrAgent: versionOf(program),
    qemuGa: hasPeer ? versionOf('/usr/sbin/qemu-ga') : null,
    loadAtStart: Number((loadavg()[0] ?? 0).toFixed(2)),
  };
}
