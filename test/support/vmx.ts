/**
 * Programs in front of the simulated VMware host: the tracer, and the reference daemon (Debian's vmtoolsd) in namespaces of its
 * own, without the capabilities with which it could shut down, freeze or re-clock this machine, with none of its stock scripts.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { listenForTracers, type TracerLink } from '../hosts/vmx/tracer-link.ts';
import { createVmx, type Vmx, type VmxOptions } from '../hosts/vmx/vmx.ts';
import { listenForVsockets, type VsocketLink } from '../hosts/vmx/vsocket-link.ts';
import { COMPILE_CACHE } from './compile-cache.ts';
import { makeAccounts } from './guest-accounts.ts';

const SOURCES = new URL('../hosts/vmx/tracer/', import.meta.url).pathname;
const BUILD = new URL('../../build/', import.meta.url).pathname;
const TRACER = join(BUILD, 'vmx-tracer');
const TOOLS_DAEMON = '/usr/bin/vmtoolsd';
const RPC_TOOL = '/usr/bin/vmware-rpctool';
/** Its library has the CPUID of the hypervisor check in it. */
const REWRITTEN = ['libvmtools', 'vmtoolsd', 'vmware-rpctool'];
const NAMESPACES = ['--mount', '--pid', '--net', '--uts', '--ipc', '--fork', '--kill-child', '--mount-proc'];

/** Builds the tracer if its sources are newer; its path. */
export function buildTracer(): string {
  const sources = readdirSync(SOURCES).map((name) => join(SOURCES, name));
  const newest = Math.max(...sources.map((path) => statSync(path).mtimeMs));
  if (existsSync(TRACER) && statSync(TRACER).mtimeMs > newest) return TRACER;
  mkdirSync(BUILD, { recursive: true });
  const fresh = `${TRACER}.${process.pid}`;
  const files = sources.filter((path) => path.endsWith('.c'));
  execFileSync('gcc', ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-o', fresh, ...files]);
  renameSync(fresh, TRACER);
  return TRACER;
}

/** Why programs can't be traced here, or undefined if they can. */
export function tracingMissing(): string | undefined {
  if (process.arch !== 'x64') return 'the tracer knows x86-64 only';
  if (spawnSync('gcc', ['--version']).error !== undefined) return 'gcc is not installed';
  const network = DEFAULT_NETWORK.map((line) => `ip ${line}`).join(' && ');
  const probe = spawnSync('unshare', [...NAMESPACES, 'sh', '-c', network], { encoding: 'utf8' });
  return probe.status === 0 ? undefined : `no namespaces of our own here: ${probe.stderr || probe.error}`;
}

/** Why the reference can't run here, or undefined if it can. */
export function openVmToolsMissing(): string | undefined {
  if (!existsSync(TOOLS_DAEMON)) return `${TOOLS_DAEMON} is not installed (apt-get install open-vm-tools)`;
  return tracingMissing();
}

export interface TracedProgram {
  /** Exit status, or 128 + signal. */
  readonly ended: Promise<number>;
  /** stdout and stderr so far. */
  output(): string;
  /** Sends the signal to the traced program. */
  kill(signal: 'SIGTERM' | 'SIGINT' | 'SIGHUP'): void;
  /** Ends tracer and program at once. */
  destroy(): Promise<void>;
}

export interface VmxBench extends AsyncDisposable {
  readonly vmx: Vmx;
  readonly link: TracerLink;
  /** null: a host without the vsocket services. */
  readonly vsockets: VsocketLink | null;
  readonly directory: string;
  /** Runs a program under the tracer; `rewrite`: parts of the paths of code that asks CPUID or makes hypercalls. */
  trace(argv: readonly [string, ...string[]], options?: { rewrite?: readonly string[] }): TracedProgram;
  /** Runs vmware-rpctool to its end. */
  rpctool(...args: string[]): Promise<{ status: number; output: string }>;
  /** Runs a program under the tracer in namespaces of its own: network, processes, host name, /etc/vmware-tools. */
  startInGuest(
    argv: readonly [string, ...string[]],
    options?: GuestOptions & { rewrite?: readonly string[] },
  ): TracedProgram;
  startToolsDaemon(options?: GuestOptions): TracedProgram;
}

export interface GuestOptions {
  /** tools.conf. */
  readonly configuration?: string;
  /** Executable files in /etc/vmware-tools, by relative path. */
  readonly scripts?: Readonly<Record<string, string>>;
  /** Whether it has the accounts of guest-accounts.ts instead of this machine's. */
  readonly accounts?: boolean;
  /** Commands for the network namespace, of `ip`. Default: one NIC with an IPv4 and an IPv6 address. */
  readonly network?: readonly string[];
}

/** One veth end, since not every kernel has the dummy driver; the addresses are for documentation. */
export const DEFAULT_NETWORK = [
  'link set lo up',
  'link add nic0 address 02:00:5e:00:53:01 type veth peer name far0 address 02:00:5e:00:53:02',
  'link set far0 addrgenmode none',
  'link set nic0 addrgenmode none',
  'link set far0 up',
  'link set nic0 up',
  'address add 192.0.2.10/24 dev nic0',
  'address add 2001:db8::10/64 dev nic0 nodad',
  'route add default via 192.0.2.1',
];

/** `$1` holds the private configuration, the rest is the command. */
const ENTER = `set -e
[ ! -d /etc/vmware-tools ] || mount --bind "$1/etc" /etc/vmware-tools
mount --bind "$1/log" /var/log
for name in passwd shadow group shells; do
  [ ! -e "$1/accounts/etc/$name" ] || mount --bind "$1/accounts/etc/$name" "/etc/$name"
done
hostname guest.example
while read -r line; do ip $line; done < "$1/network"
shift
exec "$@"`;

/** Should the tracer's guard ever fail, the kernel refuses. */
const LOST = '-sys_boot,-sys_time,-sys_admin,-sys_module,-sys_rawio';
const HARMLESS = ['setpriv', `--bounding-set=${LOST}`, `--inh-caps=${LOST}`];

export async function startVmxBench(options: VmxOptions & { vsockets?: boolean } = {}): Promise<VmxBench> {
  const tracer = buildTracer();
  const directory = mkdtempSync(join(tmpdir(), 'vmx-'));
  const vmx = createVmx(options);
  const socketPath = join(directory, 'vmx.sock');
  const link = await listenForTracers(vmx, socketPath);
  const vsockets = options.vsockets ? await listenForVsockets(vmx, socketPath) : null;
  const running = new Set<TracedProgram>();

  const traced = (rewrite: readonly string[], argv: readonly string[]): string[] => [
    ...HARMLESS,
    tracer,
    '-s',
    socketPath,
    ...rewrite.flatMap((name) => ['-p', name]),
    '--',
    ...argv,
  ];

  /** @param depth - generations between our child and the tracer */
  const run = (argv: readonly string[], depth: 0 | 1): TracedProgram => {
    const [command = '', ...args] = argv;
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...COMPILE_CACHE },
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    const ended = once(child, 'close').then(([code, signal]) => {
      running.delete(program);
      return typeof code === 'number' ? code : signal === null ? 255 : 128 + 9;
    });
    const program: TracedProgram = {
      ended,
      output: () => output,
      kill(signal) {
        process.kill(depth === 0 ? pidOf(child) : onlyChildOf(pidOf(child)), signal);
      },
      async destroy() {
        // the tracer takes its tracees with it, and unshare its child
        child.kill('SIGKILL');
        await ended;
      },
    };
    running.add(program);
    return program;
  };

  const startInGuest: VmxBench['startInGuest'] = (argv, guest = {}) => {
    const {
      configuration = '',
      scripts = {},
      network = DEFAULT_NETWORK,
      accounts = false,
      rewrite = [],
    } = guest;
    const place = mkdtempSync(join(directory, 'guest-'));
    mkdirSync(join(place, 'etc'));
    mkdirSync(join(place, 'log'));
    if (accounts) makeAccounts(join(place, 'accounts'));
    writeFileSync(join(place, 'network'), network.map((line) => `${line}\n`).join(''));
    writeFileSync(join(place, 'etc', 'tools.conf'), configuration);
    for (const [name, text] of Object.entries(scripts)) {
      const path = join(place, 'etc', name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text, { mode: 0o755 });
    }
    return run(['unshare', ...NAMESPACES, 'sh', '-c', ENTER, 'sh', place, ...traced(rewrite, argv)], 1);
  };

  return {
    vmx,
    link,
    vsockets,
    directory,
    trace: (argv, { rewrite = [] } = {}) => run(traced(rewrite, argv), 0),
    async rpctool(...args) {
      const program = run(traced(REWRITTEN, [RPC_TOOL, ...args]), 0);
      const status = await program.ended;
      return { status, output: program.output() };
    },
    startInGuest,
    startToolsDaemon: (guest = {}) => startInGuest([TOOLS_DAEMON], { ...guest, rewrite: REWRITTEN }),
    async [Symbol.asyncDispose]() {
      await Promise.all([...running].map((program) => program.destroy()));
      await vsockets?.[Symbol.asyncDispose]();
      await link[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true });
    },
  };
}

function pidOf({ pid }: ChildProcess): number {
  if (pid === undefined) throw new Error('the program did not start');
  return pid;
}

function onlyChildOf(pid: number): number {
  const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  if (!child) throw new Error(`process ${pid} has no child`);
  return Number(child);
}
