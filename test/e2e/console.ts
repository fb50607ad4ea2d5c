/** The guest's serial console, where vm/guest/console runs each line as root: a way in that does not disturb the agent. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export interface ConsoleResult {
  readonly status: number;
  readonly output: string;
}

export class GuestConsole {
  readonly #socket: Socket;
  #received = '';
  #commands = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (text) => {
      this.#received += text;
    });
    socket.on('error', () => {}); // the guest goes away at its shutdown
  }

  static async open(path: string): Promise<GuestConsole> {
    const socket = connect(path);
    await once(socket, 'connect');
    const console = new GuestConsole(socket);
    await console.run(':'); // what was printed before comes first
    return console;
  }

  /**
   * Runs a line of shell in the guest.
   * @throws Error if it has not ended after timeoutMs.
   */
  async run(line: string, timeoutMs = 60_000): Promise<ConsoleResult> {
    this.#commands += 1;
    const mark = `mark-${this.#commands}`;
    const end = new RegExp(`\\r?\\n${mark} (\\d+)\\r?\\n`);
    this.#received = '';
    this.#socket.write(`${mark} ${line}\n`);
    const deadline = AbortSignal.timeout(timeoutMs);
    for (;;) {
      const match = end.exec(this.#received);
      if (match !== null) {
        return {
          status: Number(match[1]),
          output: this.#received.slice(0, match.index).replaceAll('\r', ''),
        };
      }
      try {
        await once(this.#socket, 'data', { signal: deadline });
      } catch (cause) {
        throw new Error(`no end of "${line}" on the console after ${timeoutMs} ms: ${this.#received}`, {
          cause,
        });
      }
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}
