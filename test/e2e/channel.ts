/** The host's end of the agent's channel without libvirt: a plain client of the socket that QEMU listens on. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

const NEWLINE = 0x0a;

export class Channel {
  readonly #socket: Socket;
  #pieces: Buffer[] = [];
  #waiting: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (piece: Buffer) => {
      this.#pieces.push(piece);
      if (piece.includes(NEWLINE)) this.#waiting?.();
    });
    socket.on('close', () => this.#waiting?.());
    socket.on('error', () => {}); // seen as closed
  }

  static async open(path: string): Promise<Channel> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new Channel(socket);
  }

  /** Sends bytes as they are. */
  async write(bytes: Buffer | string): Promise<void> {
    if (!this.#socket.write(bytes)) await once(this.#socket, 'drain');
  }

  /**
   * The next line without its newline, as bytes.
   * @throws Error if none comes within timeoutMs or the peer closes.
   */
  async line(timeoutMs = 20_000): Promise<Buffer> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const newlineAt = this.#pieces.findIndex((piece) => piece.includes(NEWLINE));
      if (newlineAt >= 0) {
        const bytes = Buffer.concat(this.#pieces);
        const end = bytes.indexOf(NEWLINE);
        this.#pieces = end + 1 < bytes.length ? [bytes.subarray(end + 1)] : [];
        return bytes.subarray(0, end);
      }
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) throw new Error(`no line from the agent within ${timeoutMs} ms`);
      if (this.#socket.closed) throw new Error('QEMU closed the channel');
      await this.#moreData(leftMs);
    }
  }

  #moreData(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#waiting = () => {
        clearTimeout(timer);
        this.#waiting = undefined;
        resolve();
      };
    });
  }

  /** One request, one reply. */
  async request(execute: string, args?: Record<string, unknown>, timeoutMs?: number): Promise<unknown> {
    await this.write(`${JSON.stringify(args === undefined ? { execute } : { execute, arguments: args })}\n`);
    return JSON.parse((await this.line(timeoutMs)).toString('latin1'));
  }

  /** Closes the host's end; the port in the guest sees the host go away. */
  async close(): Promise<void> {
    if (this.#socket.closed) return;
    const closed = once(this.#socket, 'close');
    this.#socket.destroy();
    await closed;
  }
}
