/** The image under plain QEMU (TCG), started by its own boot loader; with the agent's channel, the console and QEMU's monitor. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Channel } from '../channel.ts';
import { type Hardware, hardwareArguments } from './hardware.ts';

/** Under TCG on a busy machine; 15 s is usual. */
const BOOT_LIMIT_MS = 180_000;
const SOCKET_LIMIT_MS = 10_000;

export interface VmOptions {
  readonly hardware: Hardware;
  /** The boot disk, written to. */
  readonly disk: string;
  readonly memoryMib: number;
}

interface Sockets {
  readonly agent: string;
  readonly console: string;
  readonly monitor: string;
}

export class Vm {
  /** From QEMU's start to the first answer to guest-ping. */
  readonly firstPingMs: number;
  readonly channel: Channel;
  readonly sockets: Sockets;
  readonly #runDir: string;
  readonly #qemu: ChildProcess;

  private constructor(
    runDir: string,
    sockets: Sockets,
    qemu: ChildProcess,
    channel: Channel,
    firstPingMs: number,
  ) {
    this.#runDir = runDir;
    this.#qemu = qemu;
    this.sockets = sockets;
    this.channel = channel;
    this.firstPingMs = firstPingMs;
  }

  /** Boots and waits for the first ping. @throws Error with the console's end if none comes. */
  static async boot(options: VmOptions): Promise<Vm> {
    const runDir = await mkdtemp(path.join(tmpdir(), 'chr-image-'));
    const sockets = {
      agent: path.join(runDir, 'agent'),
      console: path.join(runDir, 'console'),
      monitor: path.join(runDir, 'monitor'),
    };
    const startedAt = performance.now();
    const qemu = spawn('qemu-system-x86_64', qemuArguments(options, sockets), {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const stop = () => qemu.kill('SIGKILL');
    process.once('exit', stop);
    qemu.once('exit', () => process.off('exit', stop));
    try {
      const channel = await openChannel(sockets.agent);
      // QEMU keeps it until the agent has opened the port
      await channel.write('{"execute":"guest-ping"}\n');
      await channel.line(BOOT_LIMIT_MS);
      return new Vm(runDir, sockets, qemu, channel, performance.now() - startedAt);
    } catch (cause) {
      stop();
      const text = await readFile(consoleLog(sockets), 'latin1').catch(() => '');
      await rm(runDir, { recursive: true, force: true });
      throw new Error(`the guest did not answer; its console: ${text.slice(-2000)}`, { cause });
    }
  }

  /** All that came out of the serial console so far. */
  async consoleText(): Promise<string> {
    return (await readFile(consoleLog(this.sockets), 'latin1')).replaceAll('\r', '');
  }

  /** That QEMU has used so far: on a busy machine the better measure of work. */
  cpuSeconds(): number {
    // proc(5): utime and stime in ticks of 10 ms; nothing before them has a ')'
    const fields = readFileSync(`/proc/${this.#qemu.pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** Lines for QEMU's monitor. */
  async monitor(lines: readonly string[]): Promise<void> {
    const socket = connect(this.sockets.monitor);
    await once(socket, 'connect');
    socket.end(lines.map((line) => `${line}\n`).join(''));
    socket.resume(); // echoes and prompts
    await once(socket, 'close');
  }

  /** Waits until the guest has switched itself off. @throws Error if it does not within the limit. */
  async waitForPowerOff(limitMs: number): Promise<void> {
    if (this.#hasEnded()) return;
    await once(this.#qemu, 'exit', { signal: AbortSignal.timeout(limitMs) });
  }

  /** Cuts the power. */
  async close(): Promise<void> {
    await this.channel.close();
    if (!this.#hasEnded()) {
      const ended = once(this.#qemu, 'exit');
      this.#qemu.kill('SIGKILL');
      await ended;
    }
    await rm(this.#runDir, { recursive: true, force: true });
  }

  #hasEnded(): boolean {
    return this.#qemu.exitCode !== null || this.#qemu.signalCode !== null;
  }
}

function consoleLog(sockets: Sockets): string {
  return `${sockets.console}.log`;
}

function qemuArguments({ hardware, disk, memoryMib }: VmOptions, sockets: Sockets): string[] {
  const listener = (path: string) => `path=${path},server=on,wait=off`;
  return [
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-accel', 'tcg', '-machine', 'pc', '-cpu', 'qemu64', '-smp', '1', '-m', String(memoryMib)],
    ...hardwareArguments(hardware, disk),
    ...['-device', 'virtio-serial-pci', '-chardev', `socket,id=agent,${listener(sockets.agent)}`],
    ...['-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
    ...['-chardev', `socket,id=console,${listener(sockets.console)},logfile=${consoleLog(sockets)}`],
    ...['-serial', 'chardev:console', '-monitor', `unix:${sockets.monitor},server=on,wait=off`],
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
