/** licensing.md "Account API": one exchange, with servers that answer well, badly, or not at all. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AccountServerAccess, askAccountServer } from '../../../src/license/account-api.ts';
import { accountServerProblem, renewUrl } from '../../../src/license/account-server.ts';
import { readSystemRoots } from '../../../src/license/system-roots.ts';
import {
  type AccountServer,
  type Misbehaviour,
  startAccountServer,
} from '../../hosts/account-server/server.ts';
import { START_MS, tokenFile, VENDOR_KEY } from '../../support/licensed-guest.ts';

const SYSTEM = '6lR1ZP/utuJ';
let server: AccountServer;
beforeEach(async () => {
  server = await startAccountServer({ key: VENDOR_KEY, nowMs: () => START_MS });
  server.book.addAccount('ann', 'säcret');
});
afterEach(() => server[Symbol.asyncDispose]());

const ask = (
  changes: Partial<{ account: string; password: string }> = {},
  access?: Partial<AccountServerAccess>,
) =>
  askAccountServer(
    {
      by: 'hand',
      systemId: SYSTEM,
      currentSerial: 0,
      agentVersion: '1.2.3',
      account: changes.account ?? 'ann',
      password: Buffer.from(changes.password ?? 'säcret'),
      level: 'p10',
    },
    { url: server.url, ca: null, timeLimitMs: 5000, ...access },
  );

describe('an exchange', () => {
  it('by hand tells account, password and level, and gets a token', async () => {
    expect(await ask()).toMatchObject({ kind: 'token' });
    expect(server.requests).toMatchObject([
      {
        systemId: SYSTEM,
        account: 'ann',
        level: 'p10',
        currentSerial: 0,
        agentVersion: '1.2.3',
        token: null,
      },
    ]);
    expect(Buffer.from(server.requests[0]?.password ?? []).toString()).toBe('säcret');
    expect(server.requests[0]?.nonce).toHaveLength(16);
    await ask();
    expect(server.requests[1]?.nonce).not.toEqual(server.requests[0]?.nonce);
  });

  it('by itself tells the token and no account', async () => {
    await ask();
    const request = { by: 'itself', systemId: SYSTEM, currentSerial: 1, agentVersion: '' } as const;
    const access = { url: server.url, ca: null };
    const token = await tokenFile(SYSTEM);
    expect(await askAccountServer({ ...request, token }, access)).toMatchObject({ kind: 'token' });
    expect(server.requests[1]).toMatchObject({ account: '', currentSerial: 1 });
    expect(server.requests[1]?.password).toHaveLength(0);
    const other = await tokenFile('AAAAAAAAAAA');
    expect(await askAccountServer({ ...request, token: other }, access)).toEqual({
      kind: 'error',
      status: 'denied',
      words: 'the account server refused: the token is not ours',
    });
  });

  it.each([
    [{ account: 'bob' }, 'unknown-account', 'the account server does not know this account'],
    [{ password: 'wrong' }, 'bad-password', 'wrong password'],
  ])('with %j is refused in words', async (changes, status, words) => {
    expect(await ask(changes)).toEqual({ kind: 'error', status, words });
  });

  it.each<[string, Misbehaviour, RegExp]>([
    ['breaks the connection', { kind: 'down' }, /the account server does not answer: socket hang up/],
    ['has an error', { kind: 'http', status: 500 }, /does not answer: HTTP status 500/],
    ['redirects', { kind: 'http', status: 302 }, /HTTP status 302/],
    ['sends nothing', { kind: 'body', body: Buffer.alloc(0) }, /sent garbage/],
    ['sends text', { kind: 'body', body: Buffer.from('<html>hello</html>') }, /sent garbage/],
    ['sends too much', { kind: 'body', body: Buffer.alloc(65_537) }, /its answer is too long/],
    [
      'has another nonce',
      { kind: 'response', change: (response) => ({ ...response, nonce: Buffer.alloc(16) }) },
      /sent garbage \(another nonce\)/,
    ],
    [
      'has no nonce',
      { kind: 'response', change: (response) => ({ ...response, nonce: Buffer.alloc(0) }) },
      /another nonce/,
    ],
    [
      'has an unknown status',
      { kind: 'response', change: (response) => ({ ...response, status: null }) },
      /an unknown status/,
    ],
    ['has no token', { kind: 'response', change: (response) => ({ ...response, token: null }) }, /no token/],
  ])('with a server that %s is no answer', async (_, how, words) => {
    server.misbehave(how);
    expect(await ask()).toEqual({ kind: 'no-answer', words: expect.stringMatching(words) });
  });

  it('with a server that hangs ends after its time', async () => {
    server.misbehave({ kind: 'hang' });
    const startedMs = performance.now();
    expect(await ask({}, { timeLimitMs: 200 })).toMatchObject({
      kind: 'no-answer',
      words: expect.stringMatching(/nothing within 0.2 s/),
    });
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(195);
  });

  it('with a server that sends its answer byte by byte and never ends it, too', async () => {
    const timers: NodeJS.Timeout[] = [];
    const dripping = createServer((socket) => {
      socket.on('error', () => {});
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      timers.push(setInterval(() => socket.write('x'), 20));
    });
    await new Promise<void>((resolve) => dripping.listen(0, '127.0.0.1', resolve));
    const { port } = dripping.address() as { port: number };
    const answer = await ask({}, { url: `http://127.0.0.1:${port}`, timeLimitMs: 300 });
    for (const timer of timers) clearInterval(timer);
    dripping.close();
    expect(answer).toMatchObject({ words: expect.stringMatching(/nothing within/) });
  });

  it('can be stopped', async () => {
    server.misbehave({ kind: 'hang' });
    const stop = new AbortController();
    const answer = ask({}, { signal: stop.signal });
    stop.abort();
    expect(await answer).toMatchObject({ kind: 'no-answer' });
    expect(await ask({}, { signal: AbortSignal.abort() })).toMatchObject({ kind: 'no-answer' });
  });

  it('without a server is no answer', async () => {
    expect(await ask({}, { url: 'http://127.0.0.1:1' })).toMatchObject({
      kind: 'no-answer',
      words: expect.stringMatching(/ECONNREFUSED/),
    });
  });

  it("shows the server's words without what would harm a terminal", async () => {
    server.misbehave({
      kind: 'response',
      change: ({ nonce }) => ({
        status: 'denied',
        message: `a\u001b[2J\nb${'x'.repeat(500)}`,
        token: null,
        nonce,
      }),
    });
    const answer = await ask();
    expect(answer).toMatchObject({
      words: expect.stringMatching(/^the account server refused: a \[2J bx+$/),
    });
    expect(JSON.stringify(answer).length).toBeLessThan(300);
  });
});

describe('over TLS', () => {
  let directory: string;
  let tls: { cert: string; key: string };
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'license-tls-'));
    const file = (name: string) => join(directory, name);
    const openssl = (...args: string[]) => {
      const { status, stderr } = spawnSync('openssl', args, { encoding: 'utf8' });
      if (status !== 0) throw new Error(stderr);
    };
    openssl(
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'],
      ...['-keyout', file('key.pem'), '-out', file('cert.pem')],
    );
    tls = { cert: readFileSync(file('cert.pem'), 'utf8'), key: readFileSync(file('key.pem'), 'utf8') };
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('the pinned certificates count, else those of the system', async () => {
    await using secure = await startAccountServer({ key: VENDOR_KEY, nowMs: () => START_MS, tls });
    secure.book.addAccount('ann', 'säcret');
    expect(secure.url).toMatch(/^https:/);
    expect(await ask({}, { url: secure.url, ca: tls.cert })).toMatchObject({ kind: 'token' });
    expect(await ask({}, { url: secure.url, ca: readSystemRoots(undefined) })).toMatchObject({
      kind: 'no-answer',
      words: 'the account server does not answer: self-signed certificate',
    });
    expect(secure.requests).toHaveLength(1);
  });

  it('the system has its certificates in one of several places', () => {
    const file = join(directory, 'cert.pem');
    expect(readSystemRoots(file, [])).toBe(tls.cert);
    expect(readSystemRoots(undefined, [join(directory, 'nowhere'), file])).toBe(tls.cert);
    expect(readSystemRoots('', [file])).toBe(tls.cert);
    expect(readSystemRoots(undefined, [])).toBeNull();
    expect(readSystemRoots(join(directory, 'nowhere'), [file])).toBeNull();
  });

  it('another name than the certificate has is no answer', async () => {
    await using secure = await startAccountServer({ key: VENDOR_KEY, nowMs: () => START_MS, tls });
    const url = secure.url.replace('127.0.0.1', 'localhost');
    expect(await ask({}, { url, ca: tls.cert })).toMatchObject({ kind: 'no-answer' });
    expect(secure.requests).toHaveLength(0);
  });
});

describe("the account server's URL", () => {
  it.each([
    ['https://license.example', null],
    ['https://license.example:8443/base', null],
    ['http://127.0.0.1:8080', null],
    ['http://127.1:8080/x', null],
    ['http://[::1]:8080', null],
    ['http://localhost', null],
    ['HTTP://LOCALHOST', null],
    ['http://license.example', /must be https/],
    ['http://127.0.0.1.example', /must be https/],
    ['http://localhost.example', /must be https/],
    ['http://128.0.0.1', /must be https/],
    ['http://[::2]', /must be https/],
    ['http://0.0.0.0', /must be https/],
    ['https://user:pw@license.example', /must not hold an account/],
    ['ftp://license.example', /must be an http or https URL/],
    ['license.example', /must be an http or https URL/],
    ['https://', /must be an http or https URL/],
  ] as const)('%s', (url, problem) => {
    if (problem === null) expect(accountServerProblem(url)).toBeNull();
    else expect(accountServerProblem(url)).toMatch(problem);
  });

  it.each([
    ['https://license.example', 'https://license.example/v1/renew'],
    ['https://license.example/', 'https://license.example/v1/renew'],
    ['https://license.example:8443/base/?x=1#y', 'https://license.example:8443/base/v1/renew'],
  ])('%s is asked at %s', (url, expected) => {
    expect(renewUrl(url).href).toBe(expected);
  });
});
