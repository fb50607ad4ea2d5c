/** The command line's side of the control socket. */
import { connect } from 'node:net';
import {
  type ControlArguments,
  type ControlCommand,
  ControlFramer,
  type ControlReply,
  type ControlResults,
  controlCodec,
} from './control-messages.ts';

/** `not-running`: nobody listens there; `denied`: not this user's; `failed`: the daemon refused or broke off. */
export type ControlFailure = 'not-running' | 'denied' | 'failed';

export class ControlCallError extends Error {
  override name = 'ControlCallError';
  readonly failure: ControlFailure;
  constructor(failure: ControlFailure, message: string) {
    super(message);
    this.failure = failure;
  }
}

/**
 * Asks the daemon that listens at `path`.
 * @throws {ControlCallError}
 */
export async function callControl<Command extends ControlCommand>(
  path: string,
  command: Command,
  given?: ControlArguments[Command],
  timeLimitMs = 10_000,
): Promise<ControlResults[Command]> {
  const codec = await controlCodec();
  const request = codec.encode(given === undefined ? { command } : { command, arguments: given });
  const reply = await exchange(path, request, timeLimitMs).finally(() => request.fill(0));
  const message = codec.decode(reply);
  if (!isReply(message)) throw new ControlCallError('failed', 'the daemon sent something that is no reply');
  if (!message.ok) throw new ControlCallError('failed', message.error);
  return message.value as ControlResults[Command];
}

const BROKEN_OFF = 'the daemon closed the connection without an answer';

function exchange(path: string, request: Buffer, timeLimitMs: number): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const framer = new ControlFramer();
  const socket = connect(path, () => socket.write(request));
  const timer = setTimeout(() => {
    reject(new ControlCallError('failed', `no answer from the daemon within ${timeLimitMs / 1000} s`));
    socket.destroy();
  }, timeLimitMs);
  socket.on('data', (piece) => {
    try {
      const [reply] = framer.push(piece);
      if (reply === undefined) return;
      resolve(reply);
    } catch (error) {
      reject(error);
    }
    socket.destroy();
  });
  socket.on('error', (error) => reject(connectionError(path, error)));
  socket.on('close', () => {
    clearTimeout(timer);
    reject(new ControlCallError('failed', BROKEN_OFF));
  });
  return promise;
}

function connectionError(path: string, error: NodeJS.ErrnoException): ControlCallError {
  switch (error.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return new ControlCallError('not-running', `not running (nobody listens at ${path})`);
    case 'EACCES':
    case 'EPERM':
      return new ControlCallError(
        'denied',
        `no permission for ${path}: only the daemon's user (root) may ask`,
      );
    case 'EPIPE':
    case 'ECONNRESET':
      return new ControlCallError('failed', BROKEN_OFF);
    default:
      return new ControlCallError('failed', `${path}: ${error.message}`);
  }
}

function isReply(message: unknown): message is ControlReply {
  if (typeof message !== 'object' || message === null || !('ok' in message)) return false;
  return (
    message.ok === true || (message.ok === false && 'error' in message && typeof message.error === 'string')
  );
}
