/**
 * The embedded store: a xenstored in memory on unix sockets, for `make run` and tests (spec/xenstore.md sections 1, 2, 7, 8). The
 * toolstack's socket speaks as domain 0; each introduced domain has a socket of its own, where who connects is that domain.
 * Not a part of the daemon.
 */
import { unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createDecoder, XenstoreProtocolError } from '../wire.ts';
import { createPeer, type Peer, type Store } from './peer.ts';
import { createTree } from './tree.ts';

export interface EmbeddedStore {
  /** `XENSTORED_PATH` of the real clients. */
  readonly toolstackSocket: string;
  /** Of an introduced domain; the socket is there only then. */
  guestSocket(domain: number): string;
  /** What INTRODUCE does. */
  introduce(domain: number): void;
  release(domain: number): void;
  /** The connections of `from` go on as those of `to`, which must be introduced: a resume or a migration. */
  rebind(from: number, to: number): void;
  /** Ends all connections and takes the sockets away. */
  close(): Promise<void>;
}

/** @param directory exists; the sockets are made in it */
export async function startStore(directory: string): Promise<EmbeddedStore> {
  const sockets = new Map<Peer, Socket>();
  const guests = new Map<number, Server>();
  const guestSocket = (domain: number) => join(directory, `domU-${domain}.sock`);
  const store: Store = {
    tree: createTree(),
    peers: new Set(),
    publish(changes) {
      for (const change of changes) for (const peer of store.peers) peer.tell(change);
    },
    domains: { isIntroduced: (domain) => guests.has(domain), introduce, release },
  };

  const toolstackSocket = join(directory, 'socket');
  const toolstack = listen(toolstackSocket, 0);
  await new Promise<void>((resolve, reject) => toolstack.once('listening', resolve).once('error', reject));
  return {
    toolstackSocket,
    guestSocket,
    introduce,
    release,
    rebind(from, to) {
      for (const peer of store.peers) if (peer.domain === from) peer.becomeDomain(to);
    },
    async close() {
      const servers = [toolstack, ...guests.values()];
      for (const socket of sockets.values()) socket.destroy();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };

  function introduce(domain: number): void {
    if (guests.has(domain)) return;
    guests.set(domain, listen(guestSocket(domain), domain));
    announce('@introduceDomain');
  }

  function release(domain: number): boolean {
    const server = guests.get(domain);
    if (server === undefined) return false;
    guests.delete(domain);
    server.close();
    for (const [peer, socket] of sockets) if (peer.domain === domain) socket.destroy();
    announce('@releaseDomain');
    return true;
  }

  function announce(name: string): void {
    for (const peer of store.peers) if (peer.domain === 0) peer.tellSpecial(name);
  }

  function listen(path: string, domain: number): Server {
    const server = createServer((socket) => serve(socket, domain));
    removeOld(path);
    return server.listen(path);
  }

  function serve(socket: Socket, domain: number): void {
    const decoder = createDecoder();
    const peer = createPeer(store, domain, (bytes) => void socket.write(bytes));
    store.peers.add(peer);
    sockets.set(peer, socket);
    socket.on('data', (chunk) => {
      try {
        for (const message of decoder.push(chunk)) peer.handle(message);
      } catch (error) {
        if (!(error instanceof XenstoreProtocolError)) throw error;
        socket.destroy();
      }
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      store.peers.delete(peer);
      sockets.delete(peer);
    });
  }
}

function removeOld(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // there was none
  }
}
