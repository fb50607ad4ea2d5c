/**
 * A small account server: `POST /v1/renew` with the protobuf API of src/license/license.proto. For the tests, and the reference
 * for vendors (docs/licensing.md). It keeps everything in memory.
 */

import { createPublicKey, verify } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type LicenseCodec, licenseCodec, MalformedMessageError } from '../../../src/license/codec.ts';
import { isPaidLevel } from '../../../src/license/levels.ts';
import type { RenewRequest, RenewResponse } from '../../../src/license/messages.ts';
import { type AccountBook, type Asker, createAccountBook, type Decision } from './accounts.ts';
import { type SigningKey, signToken } from './signing.ts';

/** Instead of a proper answer; `hang` never answers, `down` breaks the connection. */
export type Misbehaviour =
  | { readonly kind: 'hang' | 'down' }
  | { readonly kind: 'http'; readonly status: number }
  | { readonly kind: 'body'; readonly body: Uint8Array }
  /** Changes the proper answer. */
  | { readonly kind: 'response'; readonly change: (response: RenewResponse) => RenewResponse };

export interface AccountServerOptions {
  readonly key: SigningKey;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
  readonly book?: AccountBook;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly host?: string;
  /** 0: any. */
  readonly port?: number;
}

export interface AccountServer extends AsyncDisposable {
  readonly url: string;
  readonly book: AccountBook;
  /** What came, oldest first; passwords too, so for tests only. */
  readonly requests: readonly RenewRequest[];
  misbehave(how: Misbehaviour | null): void;
}

const MAX_REQUEST_BYTES = 64 * 1024;

export async function startAccountServer(options: AccountServerOptions): Promise<AccountServer> {
  const { key, nowMs, book = createAccountBook(), tls, host = '127.0.0.1', port = 0 } = options;
  const codec = await licenseCodec();
  const requests: RenewRequest[] = [];
  let misbehaviour: Misbehaviour | null = null;

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url !== '/v1/renew') return finish(response, 404);
    if (request.method !== 'POST') return finish(response, 405);
    if (request.headers['content-type'] !== 'application/x-protobuf') return finish(response, 415);
    const body = await readBody(request);
    if (body === null) return finish(response, 413);
    let renewal: RenewRequest;
    try {
      renewal = codec.decode('RenewRequest', body);
    } catch (error) {
      if (!(error instanceof MalformedMessageError)) throw error;
      return finish(response, 400);
    }
    requests.push(renewal);
    const how = misbehaviour;
    switch (how?.kind) {
      case 'hang':
        return;
      case 'down':
        request.socket.destroy();
        return;
      case 'http':
        return finish(response, how.status);
      case 'body':
        return finish(response, 200, how.body);
    }
    const proper = await answer(renewal, book, key, codec, Math.floor(nowMs() / 1000));
    finish(response, 200, codec.encode('RenewResponse', how === null ? proper : how.change(proper)));
  }

  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    serve(request, response).catch((error: unknown) => {
      console.error(error);
      response.destroy();
    });
  };
  const server: Server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, host, resolve);
  });
  const { port: actualPort } = server.address() as AddressInfo;
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${host}:${actualPort}`,
    book,
    requests,
    misbehave: (how) => {
      misbehaviour = how;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function answer(
  request: RenewRequest,
  book: AccountBook,
  key: SigningKey,
  codec: LicenseCodec,
  now: number,
): Promise<RenewResponse> {
  const { nonce } = request;
  const asker = askerOf(request, key, codec);
  const decision: Decision =
    asker === null
      ? { status: 'denied', message: 'the token is not ours' }
      : book.renew(request.systemId, asker, now);
  const { status, message } = decision;
  return {
    status,
    message,
    token: decision.status === 'ok' ? await signToken(decision.token, key) : null,
    nonce,
  };
}

/** null: the token that a system shows is not one that we gave to it. */
function askerOf(request: RenewRequest, key: SigningKey, codec: LicenseCodec): Asker | null {
  const { account, password, level, token, systemId } = request;
  if (account !== '') {
    const wanted = level !== null && isPaidLevel(level) ? level : null;
    return { by: 'hand', account, password: Buffer.from(password).toString(), level: wanted };
  }
  const publicKey = createPublicKey(key.privateKey);
  if (token === null || !verify(null, token.payload, publicKey, token.signature)) return null;
  return codec.decode('LicenseToken', token.payload).systemId === systemId ? { by: 'itself' } : null;
}

function finish(response: ServerResponse, status: number, body: Uint8Array = new Uint8Array()): void {
  response.writeHead(status, { 'content-type': 'application/x-protobuf', connection: 'close' }).end(body);
}

async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const pieces: Buffer[] = [];
  let sizeBytes = 0;
  for await (const piece of request) {
    pieces.push(piece as Buffer);
    sizeBytes += (piece as Buffer).length;
    if (sizeBytes > MAX_REQUEST_BYTES) return null;
  }
  return Buffer.concat(pieces);
}
