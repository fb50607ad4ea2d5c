/** A client of a QEMU guest agent on a unix socket: sends bytes, takes whole lines. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

// replies hold numbers of any size and shape; tests want them told apart
type Json = null | boolean | number | string | Json[] | { [member: string]: Json };
export type Reply = { return?: Json; error?: { class: string; desc: string }; id?: Json };

export class LineClient {
  readonly #socket: Socket;
  readonly #chunks: Buffer[] = [];
  #waiting: (() => void) | undefined;
  #hasEnded = false;

  constructor(socketPath: string) {
    this.#socket = connect({ path: socketPath, allowHalfOpen: true });
    this.#socket.on('data', (chunk) => {
      this.#chunks.push(chunk);
      this.#waiting?.();
    });
    const end = () => {
      this.#hasEnded = true;
      this.#waiting?.();
    };
    this.#socket.on('end', end);
    this.#socket.on('close', end);
    this.#socket.on('error', end);
  }

  send(bytes: Uint8Array | string): void {
    this.#socket.write(bytes);
  }

  /** Half-closes: nothing more will be sent. */
  end(): void {
    this.#socket.end();
  }

  /** One command and its reply. */
  async command(name: string, args?: object, timeoutMs = 10_000): Promise<Reply> {
    this.send(
      `${JSON.stringify(args === undefined ? { execute: name } : { execute: name, arguments: args })}\n`,
    );
    return this.reply(timeoutMs);
  }

  /** The result of one command. @throws its error's text */
  async result(name: string, args?: object, timeoutMs = 10_000): Promise<Json> {
    const reply = await this.command(name, args, timeoutMs);
    if (reply.error !== undefined) throw new Error(reply.error.desc);
    return reply.return ?? null;
  }

  async reply(timeoutMs = 10_000): Promise<Reply> {
    return JSON.parse((await this.readThrough('\n', timeoutMs)).toString('latin1')) as Reply;
  }

  /** All bytes up to and with the first line that contains `marker` (one chunk at a time, so that long lines are cheap). */
  async readThrough(marker: string, timeoutMs = 10_000): Promise<Buffer> {
    const deadline = Date.now() + timeoutMs;
    const taken: Buffer[] = [];
    let line: Buffer[] = [];
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk === undefined) {
        const leftMs = deadline - Date.now();
        if (this.#hasEnded || leftMs <= 0) {
          this.#chunks.unshift(...taken, ...line);
          throw new Error(
            `no ${JSON.stringify(marker)} in: ${Buffer.concat(line).subarray(-500).toString('latin1')}`,
          );
        }
        await this.#wait(leftMs);
        continue;
      }
      const newline = chunk.indexOf(0x0a);
      if (newline < 0) {
        line.push(chunk);
        continue;
      }
      line.push(chunk.subarray(0, newline + 1));
      if (newline + 1 < chunk.length) this.#chunks.unshift(chunk.subarray(newline + 1));
      const whole = Buffer.concat(line);
      taken.push(whole);
      line = [];
      if (whole.includes(marker)) return Buffer.concat(taken);
    }
  }

  /** Waits until so many bytes have come; they stay to be read. */
  async readThroughBytes(count: number): Promise<void> {
    while (this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0) < count) await this.#wait(1_000);
  }

  /** Resolves when the agent has closed the connection. */
  async closed(timeoutMs = 10_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!this.#hasEnded) {
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) throw new Error('the connection is still open');
      await this.#wait(leftMs);
    }
  }

  async close(): Promise<void> {
    if (this.#socket.closed) return;
    const closed = once(this.#socket, 'close');
    this.#socket.destroy();
    await closed;
  }

  async #wait(timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#waiting = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
