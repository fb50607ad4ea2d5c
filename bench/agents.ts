/**
 * The two sides: our daemon and Debian's qemu-ga, each on a unix socket in a directory of its own, with the same profile
 * (ours runs as `upstream` unless a case says otherwise).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { referenceCommand, referenceMissing } from '../test/support/reference-agent.ts';

export type Side = 'ours' | 'theirs';
export type Compat = 'chr' | 'upstream';

export interface Agent {
  readonly side: Side;
  readonly pid: number;
  readonly socketPath: string;
  /** Ours only. */
  readonly controlPath: string | null;
  stop(): Promise<void>;
}

export interface AgentCommand {
  readonly argv: readonly [string, ...string[]];
  readonly socketPath: string;
  readonly controlPath: string | null;
  /** Removes its directory. */
  cleanUp(): void;
}

/** Why there is no peer to compare with, or undefined. */
export const peerMissing = referenceMissing;

/** The command line of a fresh agent. `program` is our bin/chr-agent. */
export function agentCommand(side: Side, program: string, compat: Compat = 'upstream'): AgentCommand {
  const directory = mkdtempSync(join(tmpdir(), 'chr-agent-bench-'));
  const cleanUp = () => rmSync(directory, { recursive: true });
  if (side === 'theirs') return { ...referenceCommand(directory), controlPath: null, cleanUp };
  const socketPath = join(directory, 'qga.sock');
  const config = join(directory, 'agent.toml');
  writeFileSync(config, configuration(directory, socketPath, compat));
  return {
    argv: [program, 'run', '--config', config],
    socketPath,
    controlPath: join(directory, 'run/control.sock'),
    cleanUp,
  };
}

export async function startAgent(side: Side, program: string, compat?: Compat): Promise<Agent> {
  return launch(side, agentCommand(side, program, compat));
}

/** Starts the agent; {@link Agent.stop} ends it and cleans up. */
export async function launch(side: Side, command: AgentCommand): Promise<Agent> {
  const { argv, cleanUp, ...sockets } = command;
  const [file, ...args] = argv;
  const child: ChildProcess = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let complaint = '';
  child.stderr?.on('data', (text) => {
    complaint = (complaint + String(text)).slice(-2000);
  });
  const closed = once(child, 'close');
  let isStopping = false;
  closed.then(
    () => isStopping || process.stderr.write(`bench: the agent (${side}) ended: ${complaint}\n`),
    () => undefined,
  );
  if (child.pid === undefined) {
    await closed; // rejects with the reason
    throw new Error(`${file} did not start`);
  }
  return {
    side,
    pid: child.pid,
    ...sockets,
    async stop() {
      isStopping = true;
      // qemu-ga may dead-lock on a SIGTERM that meets a closing connection
      child.kill(side === 'ours' ? 'SIGTERM' : 'SIGKILL');
      await closed;
      cleanUp();
    },
  };
}

function configuration(directory: string, socketPath: string, compat: Compat): string {
  const text = (value: string) => JSON.stringify(value);
  return [
    '[agent]',
    'log-level = "warning"',
    `runtime-dir = ${text(join(directory, 'run'))}`,
    `state-dir = ${text(join(directory, 'state'))}`,
    'drain-limit = 1',
    '[qemu-ga]',
    'enabled = true',
    'method = "unix-listen"',
    `path = ${text(socketPath)}`,
    `compat = ${text(compat)}`,
    ...['vmtools', 'xenstore', 'shaper'].flatMap((table) => [`[${table}]`, 'enabled = false']),
    '',
  ].join('\n');
}
