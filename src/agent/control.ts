/**
 * The control socket's server: `chr-agent status` and its like ask here. Mode 0600, so only the daemon's user (root) can.
 * A client that is slow, silent or sends garbage loses its connection, and nothing else happens.
 */
import { existsSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import type { Log } from '../log.ts';
import {
  ARGUMENT_READERS,
  type ControlArguments,
  type ControlCodec,
  type ControlCommand,
  ControlFramer,
  ControlFramingError,
  type ControlReply,
  type ControlResults,
  controlCodec,
} from './control-messages.ts';

/** A command without a handler is unknown to this daemon. */
export type ControlHandlers = {
  readonly [Command in ControlCommand]?: (
    given: ControlArguments[Command],
  ) => ControlResults[Command] | Promise<ControlResults[Command]>;
};

export interface ControlServerOptions {
  path: string;
  handlers: ControlHandlers;
  log: Log;
  /** How long a client may be silent, or not read its reply. */
  silenceLimitMs?: number;
  /** Further clients are turned away. */
  maxClients?: number;
}

export interface ControlServer {
  /** Ends all connections and removes the socket. */
  close(): Promise<void>;
}

/** The socket cannot be made; the message says why. */
export class ControlSocketError extends Error {
  override name = 'ControlSocketError';
}

/**
 * Listens at `path`; makes its directory if that is missing. A socket that nobody answers at is replaced.
 * @throws {ControlSocketError} if another daemon listens there, something else than a socket is there, or the
 *   system refuses
 */
export async function startControlServer(options: ControlServerOptions): Promise<ControlServer> {
  const { path, log, silenceLimitMs = 10_000, maxClients = 16 } = options;
  const clients = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    clients.add(socket);
    socket.on('close', () => clients.delete(socket));
    socket.on('error', (error) => log.debug(`control: client lost: ${error.message}`));
    socket.setTimeout(silenceLimitMs, () => socket.destroy());
    serve(socket, options.handlers, log, silenceLimitMs).catch((error: unknown) => {
      log.debug(`control: client dropped: ${error instanceof Error ? error.message : error}`);
      socket.destroy();
    });
  });
  server.maxConnections = maxClients;

  try {
    makeDirectory(dirname(path));
    await removeStaleSocket(path);
    await listen(server, path);
  } catch (error) {
    if (error instanceof ControlSocketError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new ControlSocketError(`control socket ${path}: ${why}`, { cause: error });
  }
  server.on('error', (error) => log.warning(`control: ${error.message}`));

  return {
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of clients) socket.destroy();
      return closed;
    },
  };
}

/** Makes it and what is missing above it. Not `recursive`: that never returns where the kernel allows no mkdir (/proc). */
function makeDirectory(path: string): void {
  if (existsSync(path)) return;
  makeDirectory(dirname(path));
  mkdirSync(path, 0o755);
}

/** Binds under a umask that makes the socket 0600 from its first moment; libuv binds within the call. */
function listen(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  const umask = process.umask(0o177);
  try {
    server.listen({ path, backlog: 16 }, () => {
      server.off('error', reject);
      resolve();
    });
  } finally {
    process.umask(umask);
  }
  return promise;
}

async function removeStaleSocket(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket()) {
    throw new ControlSocketError(`control socket ${path}: something that is no socket is there`);
  }
  if (await answers(path)) {
    throw new ControlSocketError(`control socket ${path}: another daemon listens there`);
  }
  unlinkSync(path);
}

function answers(path: string): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const probe = connect(path);
  probe.on('connect', () => {
    probe.destroy();
    resolve(true);
  });
  probe.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false);
    else if (error.code === 'EAGAIN')
      resolve(true); // its backlog is full
    else reject(error);
  });
  return promise;
}

/** One client: requests are answered in their order until it closes. */
async function serve(
  socket: Socket,
  handlers: ControlHandlers,
  log: Log,
  silenceLimitMs: number,
): Promise<void> {
  const framer = new ControlFramer();
  let codec: ControlCodec | undefined;
  // a refused client still gets its reply: leaving the loop must not destroy the socket
  for await (const piece of socket.iterator({ destroyOnReturn: false })) {
    codec ??= await controlCodec();
    try {
      for (const body of framer.push(piece as Buffer)) {
        // the daemon's own silence is not the client's: a renewal may take 30 s
        socket.setTimeout(0);
        const reply = await answer(codec.decode(body), handlers, log);
        socket.setTimeout(silenceLimitMs);
        // it may have held a password
        body.fill(0);
        await send(socket, codec.encode(reply));
      }
    } catch (error) {
      if (!(error instanceof ControlFramingError)) throw error;
      socket.end(codec.encode({ ok: false, error: error.message } satisfies ControlReply));
      return;
    }
  }
  socket.end();
}

async function answer(request: unknown, handlers: ControlHandlers, log: Log): Promise<ControlReply> {
  const command =
    typeof request === 'object' && request !== null && 'command' in request ? request.command : null;
  if (typeof command !== 'string') return { ok: false, error: 'a request is { command: string }' };
  if (!isCommand(command, handlers)) return { ok: false, error: `unknown command ${command.slice(0, 100)}` };
  try {
    const given = 'arguments' in Object(request) ? Reflect.get(Object(request), 'arguments') : undefined;
    return { ok: true, value: await call(command, given, handlers) };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    log.error(`control: ${command} failed: ${why}`);
    return { ok: false, error: why };
  }
}

function call(command: ControlCommand, given: unknown, handlers: ControlHandlers): unknown {
  switch (command) {
    case 'license-renew':
    case 'license-import':
    case 'scripts-set':
      return callWith(command, given, handlers);
    default:
      return handlers[command]?.(undefined);
  }
}

function callWith<Command extends keyof typeof ARGUMENT_READERS>(
  command: Command,
  given: unknown,
  handlers: ControlHandlers,
): unknown {
  const read = ARGUMENT_READERS[command](given);
  if (read === null) throw new Error('its arguments are wrong');
  return handlers[command]?.(read);
}

function isCommand(name: string, handlers: ControlHandlers): name is ControlCommand {
  return Object.hasOwn(handlers, name);
}

/** Waits until the reply is on its way, so that a client that does not read cannot pile up replies. */
function send(socket: Socket, frame: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.write(frame, (error) => (error ? reject(error) : resolve()));
  });
}
