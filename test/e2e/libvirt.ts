/** A private libvirtd (vm/libvirt-session) and the virsh that talks to it; every virsh command goes to the transcript. */
import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { cacheDir, transcriptFile } from './environment.ts';

/** Longest text of one argument or one output in the transcript. */
const TRANSCRIPT_CHARS = 2000;
const WORD_CHARS = 300;

export class VirshError extends Error {
  readonly stdout: string;
  constructor(message: string, stdout: string) {
    super(message);
    this.name = 'VirshError';
    this.stdout = stdout;
  }
}

/** Begins a new transcript with a line that says what is tested. */
export function beginTranscript(title: string): void {
  mkdirSync(path.dirname(transcriptFile), { recursive: true });
  writeFileSync(transcriptFile, `# ${title}\n`);
}

/** Adds a line of explanation to the transcript. */
export function note(text: string): void {
  appendFileSync(transcriptFile, `# ${text}\n`);
}

function shorten(text: string, chars: number): string {
  return text.length <= chars ? text : `${text.slice(0, chars)}… (${text.length} characters)`;
}

function shellWord(word: string): string {
  const text = shorten(word, WORD_CHARS);
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export class Libvirt {
  readonly #session: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;
  readonly #environment: NodeJS.ProcessEnv;

  private constructor(session: ChildProcessByStdio<Writable, Readable, null>, runDir: string) {
    this.#session = session;
    this.#lines = createInterface({ input: session.stdout });
    const uri = `qemu+unix:///system?socket=${runDir}/sockets/libvirt-sock`;
    this.#environment = { ...process.env, LIBVIRT_DEFAULT_URI: uri, LC_ALL: 'C' };
  }

  /** Starts libvirtd; it and its guests end with `close`, or when this process ends. */
  static async start(runDir: string): Promise<Libvirt> {
    // its own process group: an interrupt from the terminal must not hit it before it has cleaned up
    const session = spawn(path.join(import.meta.dirname, 'vm/libvirt-session'), [runDir, cacheDir], {
      detached: true,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const libvirt = new Libvirt(session, runDir);
    await libvirt.#answer('started');
    return libvirt;
  }

  async #answer(expected: string): Promise<void> {
    const ended = once(this.#session, 'exit').then(([code]) => `libvirt-session ended with ${code}`);
    const line = await Promise.race([once(this.#lines, 'line').then(([text]) => String(text)), ended]);
    if (line !== expected) throw new Error(`expected "${expected}" from libvirt-session: ${line}`);
  }

  /** Ends libvirtd and leaves the guest running: its channel's host side is free then. */
  async stopDaemon(): Promise<void> {
    this.#session.stdin.write('stop\n');
    await this.#answer('stopped');
  }

  async startDaemon(): Promise<void> {
    this.#session.stdin.write('start\n');
    await this.#answer('started');
  }

  /** Destroys the guests, ends libvirtd and removes runDir. */
  async close(): Promise<void> {
    const ended = once(this.#session, 'exit');
    this.#session.stdin.end();
    if (this.#session.exitCode === null) await ended;
    this.#lines.close();
  }

  /** What a client of this libvirtd needs in its environment. */
  get environment(): NodeJS.ProcessEnv {
    return this.#environment;
  }

  /**
   * Runs one virsh command.
   * @returns its stdout
   * @throws VirshError with its stderr
   */
  async virsh(...args: string[]): Promise<string> {
    return this.#noted(['-q', ...args]);
  }

  /** The same with what virsh says to people besides. */
  async virshVerbosely(...args: string[]): Promise<string> {
    return this.#noted(args);
  }

  async #noted(args: string[]): Promise<string> {
    const result = await this.#run(args);
    const output = `${result.stdout}${result.stderr}`.trimEnd();
    appendFileSync(
      transcriptFile,
      `$ virsh ${args
        .filter((word) => word !== '-q')
        .map(shellWord)
        .join(' ')}\n${shorten(output, TRANSCRIPT_CHARS)}\n\n`,
    );
    if (result.failed) throw new VirshError(result.stderr.trim(), result.stdout);
    return result.stdout;
  }

  /** As `virsh`, but not in the transcript: for polling. */
  async virshQuietly(...args: string[]): Promise<string> {
    return (await this.#run(['-q', ...args])).stdout;
  }

  /** Whether the command succeeds; not in the transcript either. */
  async succeeds(...args: string[]): Promise<boolean> {
    return !(await this.#run(['-q', ...args])).failed;
  }

  #run(args: string[]): Promise<{ failed: boolean; stdout: string; stderr: string }> {
    return new Promise((resolve) => {
      execFile('virsh', args, { env: this.#environment, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
        resolve({ failed: error !== null, stdout, stderr: stderr || (error?.message ?? '') });
      });
    });
  }
}
