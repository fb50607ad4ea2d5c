/** Guests of the simulated VMware host for the benchmark: the daemon, or open-vm-tools, under the tracer; the bench is the host. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Vmx } from '../../test/hosts/vmx/vmx.ts';
import { type GuestOptions, startVmxBench, type VmxBench } from '../../test/support/vmx.ts';
import type { Side } from '../agents.ts';

/** Neither timer of open-vm-tools' guest information runs, only what the host asks for is done. */
export const QUIET = '[guestinfo]\npoll-interval=0\nstats-interval=0\n';
const LIMIT = { timeoutMs: 60_000 };
const TRACER = 'vmx-tracer';

export interface ToolsGuest {
  readonly side: Side;
  /** Its host. */
  readonly vmx: Vmx;
  /** Of the program itself, not of the tracer. */
  readonly pid: number;
  /** From the program's execve(2) until it has answered its first Capabilities_Register: the host shows running tools. */
  readonly startMs: number;
  /** Backdoor calls so far. */
  calls(): number;
  /** RPCs so far. */
  rpcs(): number;
  command(text: string): Promise<void>;
  stop(): Promise<void>;
}

/** Starts it and has the host bring it up. @param configuration of tools.conf @param program our bin/chr-agent */
export async function startToolsGuest(
  side: Side,
  program: string,
  configuration: string,
  options: Pick<GuestOptions, 'accounts'> = {},
): Promise<ToolsGuest> {
  const bench = await startVmxBench();
  const { vmx, link } = bench;
  const command = async (text: string) => {
    const { ok, text: answer } = await vmx.command(text, LIMIT);
    if (!ok) throw new Error(`${side}: ${text}: ${answer}`);
  };
  try {
    const traced =
      side === 'ours'
        ? bench.startInGuest([program, 'run', '--config', configure(bench)], {
            ...options,
            configuration,
            rewrite: ['chr-agent.node'],
          })
        : bench.startToolsDaemon({ ...options, configuration });
    await vmx.system.wait('executed', () => true, LIMIT);
    const executedMs = performance.now();
    await command('reset');
    await command('Capabilities_Register');
    const startMs = performance.now() - executedMs;
    return {
      side,
      vmx,
      pid: tracedBy(link.socketPath),
      startMs,
      calls: () => link.calls,
      rpcs: () => vmx.rpci.calls.length,
      command,
      async stop() {
        traced.kill('SIGTERM');
        await traced.ended;
        await bench[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await bench[Symbol.asyncDispose]();
    throw error;
  }
}

function configure({ directory }: VmxBench): string {
  const path = join(directory, 'agent.toml');
  const text = (value: string) => JSON.stringify(value);
  const lines = [
    '[agent]',
    'log-level = "warning"',
    `runtime-dir = ${text(join(directory, 'run'))}`,
    `state-dir = ${text(join(directory, 'state'))}`,
    'drain-limit = 1',
    '[vmtools]',
    'enabled = true',
    'compat = "upstream"',
    ...['qemu-ga', 'xenstore', 'shaper'].flatMap((table) => [`[${table}]`, 'enabled = false']),
    '',
  ];
  writeFileSync(path, lines.join('\n'));
  return path;
}

/** The tracer's child, by the socket that the tracer was given. */
function tracedBy(socketPath: string): number {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const argv = read(`/proc/${pid}/cmdline`).split('\0');
    if (!argv[0]?.endsWith(TRACER) || !argv.includes(socketPath)) continue;
    const child = read(`/proc/${pid}/task/${pid}/children`).trim();
    if (/^\d+$/.test(child)) return Number(child);
  }
  throw new Error('the traced program is not there');
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // a process that has just ended
  }
}
