/** An emulated machine that runs Xen, and its dom0: shell commands over a serial line, files through a shared folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildImages, cacheDir, imageDir } from './environment.ts';

/** Usual is 10 s. */
const BOOT_LIMIT_MS = 300_000;
const COMMAND_LIMIT_MS = 300_000;

const MACHINE_MIB = 2560;
const DOM0_MIB = 768;

export interface Output {
  readonly status: number;
  readonly output: string;
}

export class Dom0 {
  /** On this machine; dom0 sees it as /share. */
  readonly shareDir: string;
  readonly #runDir: string;
  readonly #qemu: ChildProcess;
  readonly #serial: Socket;
  readonly #waiting = new Map<string, (answer: Output) => void>();
  #received = '';
  #requests = 0;

  /** Boots Xen and waits until dom0 answers. */
  static async boot(): Promise<Dom0> {
    await buildImages();
    const runDir = await mkdtemp(path.join(tmpdir(), 'chr-xen-'));
    const shareDir = path.join(runDir, 'share');
    await mkdir(shareDir);
    await copyFile(path.join(imageDir, 'vmlinux'), path.join(shareDir, 'vmlinux'));
    const commands = path.join(runDir, 'commands');
    const consoleLog = path.join(cacheDir, 'console.log');
    await rm(consoleLog, { force: true });
    const qemu = spawn('qemu-system-x86_64', qemuArguments({ shareDir, commands, consoleLog }), {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const deadline = performance.now() + BOOT_LIMIT_MS;
    while (!existsSync(commands)) {
      if (qemu.exitCode !== null || performance.now() > deadline) throw new Error('QEMU did not start');
      await sleep(50);
    }
    const serial = connect(commands);
    await once(serial, 'connect');
    const dom0 = new Dom0(runDir, shareDir, qemu, serial);
    for (;;) {
      // what is sent before its shell listens is lost
      const answer = await Promise.race([dom0.run('true'), sleep(3000)]);
      if (answer?.status === 0) return dom0;
      if (qemu.exitCode !== null || performance.now() > deadline) {
        const text = await readFile(consoleLog, 'utf8').catch(() => '');
        await dom0.close();
        throw new Error(`dom0 did not come up; the console's end:\n${text.slice(-3000)}`);
      }
    }
  }

  private constructor(runDir: string, shareDir: string, qemu: ChildProcess, serial: Socket) {
    this.#runDir = runDir;
    this.shareDir = shareDir;
    this.#qemu = qemu;
    this.#serial = serial;
    serial.on('data', (data) => this.#take(String(data)));
    serial.on('error', () => undefined);
  }

  /** Runs a shell command; several may be under way. */
  async run(command: string, limitMs = COMMAND_LIMIT_MS): Promise<Output> {
    this.#requests += 1;
    const id = `#${this.#requests}`;
    const { promise, resolve, reject } = Promise.withResolvers<Output>();
    this.#waiting.set(id, resolve);
    const timer = setTimeout(
      () => reject(new Error(`dom0: no answer in ${limitMs} ms: ${command}`)),
      limitMs,
    );
    try {
      this.#serial.write(`\n${id} ${Buffer.from(command).toString('base64')}\n`);
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  /** Runs a shell command that must succeed. @returns its output without the last newline. */
  async shell(command: string, limitMs?: number): Promise<string> {
    const { status, output } = await this.run(command, limitMs);
    if (status !== 0) throw new Error(`dom0: ${command}: status ${status}: ${output}`);
    return output.replace(/\n$/, '');
  }

  async close(): Promise<void> {
    this.#serial.destroy();
    const hasEnded = this.#qemu.exitCode !== null || this.#qemu.signalCode !== null;
    const ended = hasEnded ? undefined : once(this.#qemu, 'exit');
    this.#qemu.kill('SIGKILL');
    await ended;
    await rm(this.#runDir, { recursive: true, force: true });
  }

  #take(text: string): void {
    this.#received += text;
    const lines = this.#received.split('\n');
    this.#received = lines.pop() ?? '';
    for (const line of lines) {
      const [id = '', status = '', output = ''] = line.trim().split(' ');
      this.#waiting.get(id)?.({ status: Number(status), output: Buffer.from(output, 'base64').toString() });
    }
  }
}

function qemuArguments(files: { shareDir: string; commands: string; consoleLog: string }): string[] {
  const image = (name: string) => path.join(imageDir, name);
  const xen = `dom0_mem=${DOM0_MIB}M,max:${DOM0_MIB}M dom0_max_vcpus=1 com1=115200,8n1 console=com1 noreboot ucode=no spec-ctrl=no`;
  const linux = 'console=hvc0 earlyprintk=xen loglevel=4 mitigations=off nomodeset';
  return [
    // a processor that has what Xen needs of AMD's virtualisation under emulation
    ...['-accel', 'tcg,thread=multi', '-machine', 'pc', '-cpu', 'qemu64,+svm,+npt,+nrip-save', '-smp', '2'],
    ...['-m', String(MACHINE_MIB), '-display', 'none', '-nodefaults', '-no-user-config', '-no-reboot'],
    ...['-kernel', image('xen'), '-append', xen],
    ...['-initrd', `${image('vmlinux')} ${linux},${image('dom0.cpio')}`],
    ...['-chardev', `file,id=console,path=${files.consoleLog}`, '-serial', 'chardev:console'],
    ...[
      '-chardev',
      `socket,id=commands,path=${files.commands},server=on,wait=off`,
      '-serial',
      'chardev:commands',
    ],
    ...['-fsdev', `local,id=share,path=${files.shareDir},security_model=none`],
    ...['-device', 'virtio-9p-pci,fsdev=share,mount_tag=share'],
  ];
}
