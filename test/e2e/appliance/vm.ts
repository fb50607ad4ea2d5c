/**
 * The small guest of packaging/appliance under plain QEMU, without libvirt: built (or taken from the cache), booted with the
 * memory that a test names, and its agent's channel as a socket.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Channel } from '../channel.ts';

const execute = promisify(execFile);

const projectDir = path.resolve(import.meta.dirname, '../../..');
/** Images, and the consoles and reports of the last runs. */
export const cacheDir = path.resolve(
  process.env.CHR_APPLIANCE_DIR ?? path.join(projectDir, '.cache/appliance'),
);
const DATA_DISK_BYTES = 256 * 1024 * 1024; // sparse
/** Under TCG on a busy machine; 10 s is usual. */
const BOOT_LIMIT_MS = 180_000;
const SOCKET_LIMIT_MS = 10_000;

/** Words that save time under TCG: no mitigations, no zeroing, no probing of ports that are not there. The console gets
 * errors only (an OOM kill is one): each character costs an exit. */
const kernelWords = `loglevel=4 mitigations=off nokaslr init_on_alloc=0 random.trust_cpu=on
 no_timer_check tsc=reliable audit=0 apparmor=0 nowatchdog cryptomgr.notests i8042.noaux i8042.nokbd 8250.nr_uarts=1
 rcupdate.rcu_expedited=1 net.ifnames=0`.replaceAll('\n', '');

/** Installs what is missing. @returns why the guest cannot run here; undefined if it can. */
function findObstacle(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the guest is for x86-64 Linux only';
  if (process.getuid?.() !== 0) return 'must be root to build the guest';
  if (!existsSync(path.join(projectDir, 'dist/.complete'))) return 'there is no dist/: run make build';
  try {
    const packages = ['qemu-system-x86', 'e2fsprogs'];
    execFileSync(path.join(projectDir, 'scripts/need-packages'), packages, {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  } catch (error) {
    return `packages are missing and cannot be installed: ${error instanceof Error ? error.message : error}`;
  }
  return undefined;
}

/**
 * @returns the reason to skip the test, printed too; undefined if it can run.
 * @throws Error with that reason in CI, where it must run.
 */
export function reasonToSkip(): string | undefined {
  // CI has one boot, the real guest's
  if (process.env.CHR_AGENT_LONG !== '1')
    return 'it belongs to the long run: make test-long or make appliance-test';
  const obstacle = findObstacle();
  if (obstacle === undefined) return undefined;
  if (process.env.CI === 'true') throw new Error(`the small guest cannot run: ${obstacle}`);
  console.warn(`the small guest is skipped: ${obstacle}`);
  return obstacle;
}

export interface Image {
  readonly dir: string;
  /** Words for the kernel that the guest has anywhere. */
  readonly cmdline: string;
  /** Bytes of root.squashfs, vmlinuz, initrd and vmlinux. */
  readonly sizes: ReadonlyMap<string, number>;
}

/** Builds the guest unless one of the same content is in the cache (a minute or two). */
export async function buildImage(): Promise<Image> {
  const script = path.join(projectDir, 'packaging/appliance/build');
  const { stdout } = await execute(script, [cacheDir], { maxBuffer: 64 << 20 });
  const dir = stdout.trim();
  const sizes = new Map<string, number>();
  for (const line of (await readFile(path.join(dir, 'sizes'), 'utf8')).trim().split('\n')) {
    const [name, bytes] = line.split(' ');
    if (name !== undefined) sizes.set(name, Number(bytes));
  }
  return { dir, sizes, cmdline: (await readFile(path.join(dir, 'cmdline'), 'utf8')).trim() };
}

export class Appliance {
  /** From QEMU's start to the first answer to guest-ping. */
  readonly firstPingMs: number;
  readonly channel: Channel;
  readonly consoleLog: string;
  readonly #runDir: string;
  readonly #qemu: ChildProcess;

  private constructor(
    runDir: string,
    consoleLog: string,
    qemu: ChildProcess,
    channel: Channel,
    firstPingMs: number,
  ) {
    this.#runDir = runDir;
    this.#qemu = qemu;
    this.channel = channel;
    this.consoleLog = consoleLog;
    this.firstPingMs = firstPingMs;
  }

  /** Boots and waits for the first ping. @throws Error with the console's end if none comes. */
  static async boot(image: Image, memoryMib: number): Promise<Appliance> {
    const runDir = await mkdtemp(path.join(tmpdir(), 'chr-appliance-'));
    const consoleLog = path.join(cacheDir, `console-${memoryMib}.log`);
    const disk = path.join(runDir, 'data.raw');
    await writeFile(disk, '');
    await truncate(disk, DATA_DISK_BYTES);
    await execute('/sbin/mke2fs', ['-q', '-t', 'ext4', '-m', '0', disk]);
    await mkdir(cacheDir, { recursive: true });
    const socket = path.join(runDir, 'agent.sock');
    const startedAt = performance.now();
    const qemu = spawn('qemu-system-x86_64', qemuArguments(image, memoryMib, { disk, socket, consoleLog }), {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const stop = () => qemu.kill('SIGKILL');
    process.once('exit', stop);
    qemu.once('exit', () => process.off('exit', stop));
    try {
      const channel = await openChannel(socket);
      // QEMU keeps it until the agent has opened the port
      await channel.write('{"execute":"guest-ping"}\n');
      await channel.line(BOOT_LIMIT_MS);
      return new Appliance(runDir, consoleLog, qemu, channel, performance.now() - startedAt);
    } catch (cause) {
      stop();
      await rm(runDir, { recursive: true, force: true });
      const text = await readFile(consoleLog, 'latin1').catch(() => '');
      throw new Error(`the guest did not answer; its console: ${text.slice(-2000)}`, { cause });
    }
  }

  /** All of the serial console so far: the agent's stderr and the kernel's errors. */
  async console(): Promise<string> {
    return (await readFile(this.consoleLog, 'latin1')).replaceAll('\r', '');
  }

  /** That QEMU has used so far: on a busy machine the better measure of work. */
  cpuSeconds(): number {
    // proc(5): utime and stime in ticks of 10 ms; nothing before them has a ')'
    const fields = readFileSync(`/proc/${this.#qemu.pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** Ends QEMU; the console's text stays in the cache. */
  async close(): Promise<void> {
    await this.channel.close();
    const hasEnded = this.#qemu.exitCode !== null || this.#qemu.signalCode !== null;
    const ended = hasEnded ? undefined : once(this.#qemu, 'exit');
    this.#qemu.kill('SIGKILL');
    await ended;
    await rm(this.#runDir, { recursive: true, force: true });
  }
}

interface RunFiles {
  readonly disk: string;
  readonly socket: string;
  readonly consoleLog: string;
}

function qemuArguments(image: Image, memoryMib: number, files: RunFiles): string[] {
  const file = (name: string) => path.join(image.dir, name);
  return [
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-accel', 'tcg', '-machine', 'pc', '-cpu', 'qemu64', '-smp', '1', '-m', String(memoryMib)],
    ...['-kernel', file('vmlinux'), '-initrd', file('initrd')],
    ...['-append', `${image.cmdline} ${kernelWords}`],
    ...['-drive', `file=${file('root.squashfs')},if=virtio,format=raw,readonly=on`],
    ...['-drive', `file=${files.disk},if=virtio,format=raw,cache=unsafe`],
    ...['-device', 'virtio-serial-pci'],
    ...['-chardev', `socket,id=agent,path=${files.socket},server=on,wait=off`],
    ...['-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
    ...['-chardev', `file,id=console,path=${files.consoleLog}`, '-serial', 'chardev:console'],
  ];
}

async function openChannel(socket: string): Promise<Channel> {
  const deadline = performance.now() + SOCKET_LIMIT_MS;
  for (;;) {
    try {
      return await Channel.open(socket);
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await sleep(10);
  }
}
