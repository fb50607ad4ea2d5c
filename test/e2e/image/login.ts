/** A person at the serial console, as expect(1) would play one. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export class Terminal {
  readonly #socket: Socket;
  #received = '';

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (text) => {
      this.#received += text;
    });
    socket.on('error', () => {}); // the guest goes away
  }

  static async open(path: string): Promise<Terminal> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new Terminal(socket);
  }

  type(line: string): void {
    this.#socket.write(`${line}\r`);
  }

  /** Waits for a text and forgets what came until then. @returns that. @throws Error if it does not come. */
  async expect(pattern: RegExp, limitMs = 30_000): Promise<string> {
    const deadline = AbortSignal.timeout(limitMs);
    for (;;) {
      const match = pattern.exec(this.#received);
      if (match !== null) {
        const end = match.index + match[0].length;
        const before = this.#received.slice(0, end).replaceAll('\r', '');
        this.#received = this.#received.slice(end);
        return before;
      }
      try {
        await once(this.#socket, 'data', { signal: deadline });
      } catch (cause) {
        throw new Error(`no ${pattern} on the console: ${this.#received}`, { cause });
      }
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}
