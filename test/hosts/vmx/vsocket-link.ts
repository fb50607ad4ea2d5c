/**
 * The front for the vsocket variant (vmware.md section 13): unix sockets `PREFIX.vsock.976` for RPCI and `.975` for TCLO, to which
 * the tracer leads a program's vsockets.
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { Vmx } from './vmx.ts';
import { encodePacket, packetReader, type VsocketPacket } from './vsocket-packet.ts';

const RPCI_PORT = 976;
const TCLO_PORT = 975;

export interface VsocketLink extends AsyncDisposable {
  /** Times of the guest's heart-beats on TCLO, ms of performance.now. */
  readonly pingsMs: readonly number[];
  /** Drops the connections of one port; the guest has to come again. */
  drop(port: 975 | 976): void;
}

const data = (payload: Buffer): Buffer => encodePacket({ type: 'data', payload, fastClose: false });

export async function listenForVsockets(vmx: Vmx, prefix: string): Promise<VsocketLink> {
  const pingsMs: number[] = [];
  const sockets = new Map<Socket, number>();

  const rpci = (socket: Socket) => (packet: VsocketPacket) => {
    if (packet.type !== 'data') return;
    // the guest binds a port below 1024, which the tracer does not pass on
    const reply = data(vmx.rpci.answer(packet.payload, { privileged: true, transport: 'vsocket' }));
    if (packet.fastClose) socket.end(reply);
    else socket.write(reply);
  };

  const tclo = (socket: Socket) => {
    const pump = (): void => {
      const command = session.offer();
      if (command === undefined) return;
      session.taken();
      socket.write(data(command));
    };
    const session = vmx.tclo.begin(pump);
    socket.on('close', () => session.closed());
    pump();
    return (packet: VsocketPacket) => {
      if (packet.type === 'ping') {
        pingsMs.push(performance.now());
        return;
      }
      session.answered(packet.payload);
      pump();
    };
  };

  const serve = async (
    port: number,
    begin: (socket: Socket) => (packet: VsocketPacket) => void,
  ): Promise<Server> => {
    const server = createServer((socket) => {
      sockets.set(socket, port);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => socket.destroy());
      const read = packetReader();
      const take = begin(socket);
      socket.on('data', (piece: Buffer) => {
        try {
          for (const packet of read(piece)) take(packet);
        } catch {
          socket.destroy();
        }
      });
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(`${prefix}.vsock.${port}`, resolve);
    });
    return server;
  };

  const servers = [await serve(RPCI_PORT, rpci), await serve(TCLO_PORT, tclo)];
  return {
    pingsMs,
    drop(port) {
      for (const [socket, its] of sockets) if (its === port) socket.destroy();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.keys()) socket.destroy();
      await Promise.all(
        servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
      );
    },
  };
}
