/**
 * The reference peer: Debian's qemu-ga on a unix socket, without the capabilities with which it could shut down, freeze or
 * re-clock this machine.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const PROGRAM = '/usr/sbin/qemu-ga';

/** Why the reference can't run here, or undefined if it can. */
export function referenceMissing(): string | undefined {
  return existsSync(PROGRAM) ? undefined : `${PROGRAM} is not installed (apt-get install qemu-guest-agent)`;
}

export interface ReferenceAgent {
  readonly socketPath: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** The command line of a reference agent that keeps its files in `directory`; setpriv becomes the agent. */
export function referenceCommand(directory: string): { argv: [string, ...string[]]; socketPath: string } {
  const socketPath = join(directory, 'qga.sock');
  return {
    socketPath,
    argv: [
      'setpriv',
      '--bounding-set=-sys_admin,-sys_boot,-sys_time',
      '--inh-caps=-sys_admin,-sys_boot,-sys_time',
      PROGRAM,
      '--method=unix-listen',
      `--path=${socketPath}`,
      `--statedir=${directory}`,
    ],
  };
}

export async function startReferenceAgent(): Promise<ReferenceAgent> {
  const directory = mkdtempSync(join(tmpdir(), 'qga-reference-'));
  const { argv, socketPath } = referenceCommand(directory);
  const [program, ...args] = argv;
  const agent: ChildProcess = spawn(program, args, { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => agent.once('exit', () => resolve()));
  for (let tries = 0; !existsSync(socketPath); tries += 1) {
    if (tries > 200) throw new Error('the reference agent did not start');
    await delay(20);
  }
  if (agent.pid === undefined) throw new Error('the reference agent did not start');
  return {
    socketPath,
    pid: agent.pid,
    async stop() {
      // it may dead-lock on a SIGTERM that meets a closing connection (spec qemu-ga.md section 7)
      agent.kill('SIGKILL');
      await ended;
      rmSync(directory, { recursive: true });
    },
  };
}
