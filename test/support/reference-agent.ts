/**
 * The reference peer: Debian's qemu-ga on a unix socket, without the capabilities with which it could shut down, freeze or
 * re-clock this machine.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
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
  stop(): Promise<void>;
}

export async function startReferenceAgent(): Promise<ReferenceAgent> {
  const directory = mkdtempSync(join(tmpdir(), 'qga-reference-'));
  const socketPath = join(directory, 'qga.sock');
  const agent: ChildProcess = spawn(
    'setpriv',
    [
      '--bounding-set=-sys_admin,-sys_boot,-sys_time',
      '--inh-caps=-sys_admin,-sys_boot,-sys_time',
      PROGRAM,
      '--method=unix-listen',
      `--path=${socketPath}`,
      `--statedir=${directory}`,
    ],
    { stdio: 'ignore' },
  );
  const ended = new Promise<void>((resolve) => agent.once('exit', () => resolve()));
  for (let tries = 0; !existsSync(socketPath); tries += 1) {
    if (tries > 200) throw new Error('the reference agent did not start');
    await delay(20);
  }
  return {
    socketPath,
    async stop() {
      // it may dead-lock on a SIGTERM that meets a closing connection (spec qemu-ga.md section 7)
      agent.kill('SIGKILL');
      await ended;
      rmSync(directory, { recursive: true });
    },
  };
}

/** A client that sends bytes and takes whole lines. */
export class LineClient {
  readonly #socket: Socket;
  readonly #chunks: Buffer[] = [];
  #waiting: (() => void) | undefined;
  #hasEnded = false;

  constructor(socketPath: string) {
    this.#socket = connect(socketPath);
    this.#socket.on('data', (chunk) => {
      this.#chunks.push(chunk);
      this.#waiting?.();
    });
    this.#socket.on('close', () => {
      this.#hasEnded = true;
      this.#waiting?.();
    });
    this.#socket.on('error', () => undefined);
  }

  send(bytes: Uint8Array | string): void {
    this.#socket.write(bytes);
  }

  /** All bytes up to and with the first line that contains `marker`. */
  async readThrough(marker: string, timeoutMs = 10_000): Promise<Buffer> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const bytes = Buffer.concat(this.#chunks.splice(0));
      const at = bytes.indexOf(marker);
      const lineEnd = at < 0 ? -1 : bytes.indexOf('\n', at);
      if (lineEnd >= 0) {
        if (lineEnd + 1 < bytes.length) this.#chunks.push(bytes.subarray(lineEnd + 1));
        return bytes.subarray(0, lineEnd + 1);
      }
      if (bytes.length > 0) this.#chunks.push(bytes);
      const leftMs = deadline - Date.now();
      if (this.#hasEnded || leftMs <= 0) throw new Error(`no ${marker} in: ${bytes.subarray(-500).toString('latin1')}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#waiting = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}
