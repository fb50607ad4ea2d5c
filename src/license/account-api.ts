/** One exchange with the account server: `POST <account-server>/v1/renew`, licensing.md "Account API". */
import type { IncomingMessage, RequestOptions } from 'node:http';
import { renewUrl } from './account-server.ts';
import { licenseCodec, MalformedMessageError } from './codec.ts';
import type { PaidLevel } from './levels.ts';
import type { ENUMS, RenewRequest, RenewResponse } from './messages.ts';
import type { SystemId } from './system-id.ts';

export type RenewalRequest = {
  readonly systemId: SystemId;
  readonly currentSerial: number;
  readonly agentVersion: string;
} & (
  | {
      readonly by: 'hand';
      readonly account: string;
      /** UTF-8. The caller wipes it. */
      readonly password: Uint8Array;
      readonly level: PaidLevel | null;
    }
  /** The token (an encoded SignedToken) tells who asks. */
  | { readonly by: 'itself'; readonly token: Uint8Array }
);

export type ErrorStatus = Exclude<keyof typeof ENUMS.Status, 'ok'>;

export type RenewalAnswer =
  /** An encoded SignedToken, not yet verified. */
  | { readonly kind: 'token'; readonly token: Uint8Array }
  /** The server said no; `words` tell a person why. */
  | { readonly kind: 'error'; readonly status: ErrorStatus; readonly words: string }
  /** Nothing, or nothing that makes sense. */
  | { readonly kind: 'no-answer'; readonly words: string };

export interface AccountServerAccess {
  /** Checked by `accountServerProblem`. */
  readonly url: string;
  /** Certificates (PEM, any number) that the server's is checked against; null: those that Node.js was built with. */
  readonly ca: string | null;
  readonly timeLimitMs?: number;
  /** Ends the exchange early, as `no-answer`. */
  readonly signal?: AbortSignal;
}

export const EXCHANGE_LIMIT_MS = 30_000;
const MAX_RESPONSE_BYTES = 64 * 1024;
const CONTENT_TYPE = 'application/x-protobuf';

/** Asks once. Whatever goes wrong is an answer; nothing is logged. */
export async function askAccountServer(
  request: RenewalRequest,
  access: AccountServerAccess,
): Promise<RenewalAnswer> {
  const codec = await licenseCodec();
  const { randomBytes } = await import('node:crypto');
  const nonce = randomBytes(16);
  const body = codec.encode('RenewRequest', {
    ...requestFields(request),
    token: request.by === 'itself' ? codec.decode('SignedToken', request.token) : null,
    nonce,
  });
  let response: RenewResponse;
  try {
    response = codec.decode('RenewResponse', await post(renewUrl(access.url), body, access));
  } catch (error) {
    if (error instanceof MalformedMessageError) return noAnswer('the account server sent garbage');
    const why = error instanceof Error ? error.message : String(error);
    // Node.js goes on with advice for programmers
    return noAnswer(`the account server does not answer: ${why.replace(/; if the root CA is .*/, '')}`);
  } finally {
    body.fill(0);
  }
  if (!nonce.equals(response.nonce)) return noAnswer('the account server sent garbage (another nonce)');
  if (response.status === null) return noAnswer('the account server sent an unknown status');
  if (response.status !== 'ok') return errorAnswer(response.status, response.message);
  if (response.token === null) return noAnswer('the account server sent no token');
  return { kind: 'token', token: codec.encode('SignedToken', response.token) };
}

function requestFields(request: RenewalRequest): Omit<RenewRequest, 'token' | 'nonce'> {
  const { systemId, currentSerial, agentVersion } = request;
  const asked =
    request.by === 'hand'
      ? { account: request.account, password: request.password, level: request.level }
      : { account: '', password: new Uint8Array(), level: null };
  return { systemId, currentSerial, agentVersion, ...asked };
}

const ERROR_WORDS: Readonly<Record<ErrorStatus, string>> = {
  denied: 'the account server refused',
  'unknown-account': 'the account server does not know this account',
  'bad-password': 'wrong password',
  'unknown-level': 'the account server does not know this level',
  'not-upgradable': 'this system cannot get a license any more, a fresh installation is needed',
  busy: 'the account server is busy, try again later',
};

function errorAnswer(status: ErrorStatus, message: string): RenewalAnswer {
  // it goes to a terminal and into the log
  const told = message
    .replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim()
    .slice(0, 200);
  return {
    kind: 'error',
    status,
    words: told === '' ? ERROR_WORDS[status] : `${ERROR_WORDS[status]}: ${told}`,
  };
}

const noAnswer = (words: string): RenewalAnswer => ({ kind: 'no-answer', words });

/** @throws why there is no complete answer with status 200 */
async function post(url: URL, body: Uint8Array, access: AccountServerAccess): Promise<Buffer> {
  const isTls = url.protocol === 'https:';
  const { request } = isTls ? await import('node:https') : await import('node:http');
  const options: RequestOptions & { ca?: string } = {
    method: 'POST',
    headers: { 'content-type': CONTENT_TYPE, accept: CONTENT_TYPE, 'content-length': body.length },
    // no connection is kept, and the environment's proxies are not asked
    agent: false,
    ...(isTls && access.ca !== null && { ca: access.ca }),
  };
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const exchange = request(url, options, (response) => {
    if (response.statusCode === 200) readBody(response).then(resolve, reject);
    else reject(new Error(`HTTP status ${response.statusCode}`));
  });
  exchange.on('error', reject);
  const limitMs = access.timeLimitMs ?? EXCHANGE_LIMIT_MS;
  const timer = setTimeout(() => reject(new Error(`nothing within ${limitMs / 1000} s`)), limitMs);
  const stop = () => reject(new Error('stopped'));
  access.signal?.addEventListener('abort', stop);
  if (access.signal?.aborted) stop();
  else exchange.end(body);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    access.signal?.removeEventListener('abort', stop);
    exchange.destroy();
  }
}

async function readBody(response: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let sizeBytes = 0;
  for await (const piece of response) {
    if (!(piece instanceof Buffer)) throw new TypeError('a decoded body');
    sizeBytes += piece.length;
    if (sizeBytes > MAX_RESPONSE_BYTES) throw new Error('its answer is too long');
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
