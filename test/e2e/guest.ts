/** One run of the real guest: build or reuse the image, install the agent, boot under libvirt, talk to it, clean up. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { GuestConsole } from './console.ts';
import { DOMAIN, type DomainFiles, domainXml, type Init } from './domain.ts';
import { cacheDir } from './environment.ts';
import { baseImage, dataDisk, type Install, rootDisk } from './image.ts';
import { beginTranscript, Libvirt, note } from './libvirt.ts';

const BOOT_LIMIT_MS = 180_000;
const LOOK_LIMIT_MS = 20_000;
/** Longest path of a Unix socket that the system takes. */
const SOCKET_PATH_BYTES = 107;

const reply = v.object({ return: v.unknown() });

export interface AgentOptions {
  /** How long virsh waits for the answer, in seconds (30). */
  readonly timeoutS?: number;
}

export class Guest {
  readonly libvirt: Libvirt;
  readonly agentSocket: string;
  readonly vmtoolsSockets: string;
  /** The host's files of /dev/vda and /dev/vdb. */
  readonly rootDisk: string;
  readonly dataDisk: string;
  readonly #runDir: string;
  readonly #files: DomainFiles;
  #console: GuestConsole | undefined;

  private constructor(libvirt: Libvirt, runDir: string, files: DomainFiles) {
    this.libvirt = libvirt;
    this.agentSocket = files.agentSocket;
    this.vmtoolsSockets = files.vmtoolsSockets;
    this.rootDisk = files.rootDisk;
    this.dataDisk = files.dataDisk;
    this.#runDir = runDir;
    this.#files = files;
  }

  /**
   * Makes the guest's disk and starts libvirtd; `boot` starts the guest.
   * @param title for the transcript
   */
  static async prepare(title: string, install: Install): Promise<Guest> {
    beginTranscript(title);
    const image = await baseImage();
    await mkdir(path.join(cacheDir, 'log'), { recursive: true });
    const runDir = await mkdtemp(path.join(cacheDir, 'run-'));
    try {
      const files = {
        kernel: path.join(image, 'vmlinux'),
        initrd: path.join(image, 'initrd'),
        rootDisk: await rootDisk(image, runDir, install),
        dataDisk: await dataDisk(runDir),
        agentSocket: path.join(runDir, 'agent.sock'),
        vmtoolsSockets: path.join(runDir, 'vmtools'),
        consoleSocket: path.join(runDir, 'console.sock'),
        consoleLog: path.join(cacheDir, 'log/console.log'),
      };
      if (files.consoleSocket.length + 20 > SOCKET_PATH_BYTES) {
        throw new Error(`CHR_E2E_DIR is too long a path for Unix sockets: ${cacheDir}`);
      }
      return new Guest(await Libvirt.start(runDir), runDir, files);
    } catch (error) {
      await rm(runDir, { recursive: true, force: true });
      throw error;
    }
  }

  /**
   * Boots the guest and waits for the agent's first answer, if it has an agent, and for the console.
   * @returns milliseconds from `virsh start` to that answer
   */
  async boot(init: Init, hasAgent = true): Promise<number> {
    const xml = path.join(this.#runDir, 'domain.xml');
    await writeFile(xml, domainXml(this.#files, init));
    await this.libvirt.virsh('define', xml);
    const start = performance.now();
    await this.libvirt.virsh('start', DOMAIN);
    if (hasAgent) await this.waitForAnswer();
    const bootMs = performance.now() - start;
    while (!(await this.#consoleText()).includes('console ready')) {
      if (performance.now() - start > BOOT_LIMIT_MS) throw new Error(await this.#whyNotUp('no console'));
      await sleep(100);
    }
    this.#console = await GuestConsole.open(this.#files.consoleSocket);
    if (hasAgent)
      note(`the agent answers ${(bootMs / 1000).toFixed(1)} s after virsh start (TCG, ${init} boot)`);
    return bootMs;
  }

  /**
   * Waits until the agent answers on its channel.
   * @throws Error if it does not, or if the guest stops
   */
  async waitForAnswer(limitMs = BOOT_LIMIT_MS): Promise<void> {
    const start = performance.now();
    const ping = ['qemu-agent-command', DOMAIN, JSON.stringify({ execute: 'guest-ping' }), '--timeout', '5'];
    while (!(await this.libvirt.succeeds(...ping))) {
      if (performance.now() - start > limitMs)
        throw new Error(await this.#whyNotUp('no answer from the agent'));
      if ((await this.state()) !== 'running') throw new Error(await this.#whyNotUp('the guest stopped'));
      await sleep(100);
    }
  }

  async #consoleText(): Promise<string> {
    return await readFile(this.#files.consoleLog, 'latin1').catch(() => '');
  }

  async #whyNotUp(what: string): Promise<string> {
    const end = (await this.#consoleText()).slice(-3000);
    return `${what} in time; the console's end:\n${end}\n${await this.#agentSeenFromConsole()}`;
  }

  /** The end of the agent's log, and what its threads wait for, if the console works. */
  async #agentSeenFromConsole(): Promise<string> {
    const look =
      'tail -n 20 /var/log/agent.log; pgrep -a node; grep -H . /proc/$(pidof -s node)/task/*/wchan; ls /dev/virtio-ports';
    try {
      const seen = this.#console ?? (await GuestConsole.open(this.#files.consoleSocket));
      return (await seen.run(look, LOOK_LIMIT_MS)).output;
    } catch (error) {
      return `the console does not answer: ${error instanceof Error ? error.message : error}`;
    }
  }

  /** The root shell on the serial console. */
  get console(): GuestConsole {
    if (this.#console === undefined) throw new Error('the guest has not been booted');
    return this.#console;
  }

  /** Runs a virsh command on the domain: `virsh NAME chr ...ARGS`; returns its output. */
  async virsh(name: string, ...args: string[]): Promise<string> {
    return (await this.libvirt.virsh(name, DOMAIN, ...args)).trim();
  }

  /** The same with what virsh says to people besides. */
  async virshVerbosely(name: string, ...args: string[]): Promise<string> {
    return (await this.libvirt.virshVerbosely(name, DOMAIN, ...args)).trim();
  }

  async state(): Promise<string> {
    return (await this.libvirt.virshQuietly('domstate', DOMAIN)).trim();
  }

  /** Waits until the domain is shut off. */
  async waitForShutOff(limitMs: number): Promise<void> {
    const start = performance.now();
    while ((await this.state()) !== 'shut off') {
      if (performance.now() - start > limitMs) throw new Error(await this.#whyNotUp('not shut off'));
      await sleep(200);
    }
    this.#forgetConsole();
  }

  /** Ends the guest as a power failure would; it can be booted again. */
  async destroy(): Promise<void> {
    await this.virsh('destroy');
    this.#forgetConsole();
  }

  #forgetConsole(): void {
    this.#console?.close();
    this.#console = undefined;
  }

  /**
   * Sends one agent command with `virsh qemu-agent-command`.
   * @returns the member "return" of the reply
   * @throws VirshError with libvirt's text, which ends with the error's desc
   */
  async agent(execute: string, args?: Record<string, unknown>, options: AgentOptions = {}): Promise<unknown> {
    const request = JSON.stringify(args === undefined ? { execute } : { execute, arguments: args });
    const timeout = ['--timeout', String(options.timeoutS ?? 30)];
    return v.parse(reply, JSON.parse(await this.virsh('qemu-agent-command', request, ...timeout))).return;
  }

  /** Destroys what runs; this run's files go with it. The console's and libvirtd's logs stay in the cache. */
  async close(): Promise<void> {
    this.#console?.close();
    await this.libvirt.close();
  }
}
