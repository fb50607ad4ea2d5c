/**
 * The account server by hand: `node test/hosts/account-server/main.ts --key NAME.key --account NAME:PASSWORD [--port N]`. Lines
 * on stdin stand for what customers do on the vendor's site: `buy SYSTEM-ID LEVEL`, `transfer FROM TO`, `spare ACCOUNT`, and
 * `later DAYS` moves the server's clock.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { isPaidLevel } from '../../../src/license/levels.ts';
import { startAccountServer } from './server.ts';
import { signingKey } from './signing.ts';

const { values } = parseArgs({
  options: {
    key: { type: 'string' },
    account: { type: 'string', multiple: true, default: [] },
    port: { type: 'string', default: '0' },
    'tls-cert': { type: 'string' },
    'tls-key': { type: 'string' },
  },
});
if (values.key === undefined) throw new Error('--key is missing');
const certificate = values['tls-cert'];
const certificateKey = values['tls-key'];
let laterMs = 0;
const nowMs = () => Date.now() + laterMs;

const server = await startAccountServer({
  key: signingKey(basename(values.key).replace(/\.key$/, ''), readFileSync(values.key, 'utf8')),
  nowMs,
  port: Number(values.port),
  ...(certificate &&
    certificateKey && {
      tls: { cert: readFileSync(certificate, 'utf8'), key: readFileSync(certificateKey, 'utf8') },
    }),
});
for (const account of values.account) {
  const [name = '', password = ''] = account.split(/:(.*)/s);
  server.book.addAccount(name, password);
}
console.log(`account-server = "${server.url}"`);

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(obey(line.trim().split(/\s+/)));
  } catch (error) {
    console.log(error instanceof Error ? error.message : error);
  }
}
await server[Symbol.asyncDispose]();

function obey([command = '', first = '', second = '']: readonly string[]): string {
  switch (command) {
    case 'buy':
      if (!isPaidLevel(second)) return 'the level is one of p1, p10, p-unlimited';
      server.book.buy(first, second, Math.floor(nowMs() / 1000));
      return 'done';
    case 'transfer':
      server.book.transfer(first, second);
      return 'done';
    case 'spare':
      return server.book.spare(first).join(' ');
    case 'later':
      laterMs += Number(first) * 86_400_000;
      return new Date(nowMs()).toISOString();
    default:
      return 'buy SYSTEM-ID LEVEL | transfer FROM TO | spare ACCOUNT | later DAYS';
  }
}
