/** A TCP listener on the host that swallows what a guest sends: under QEMU's user network it is 10.0.2.2 for the guest. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';

export class Sink {
  /** Until the last connection's end. */
  receivedBytes = 0;
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((socket) => {
      socket.on('data', (piece) => {
        this.receivedBytes += piece.length;
      });
      socket.on('error', () => {}); // the guest may be switched off
    });
  }

  static async listen(): Promise<Sink> {
    const sink = new Sink();
    sink.#server.listen(0, '127.0.0.1');
    await once(sink.#server, 'listening');
    return sink;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('not listening');
    return address.port;
  }

  close(): void {
    this.#server.close();
  }
}
