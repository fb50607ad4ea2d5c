/** `chr-agent-issue`: the vendor's tool for keys and tokens. A development tool, not in the guest's bundle. docs/licensing.md */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { licenseCodec } from '../../../src/license/codec.ts';
import { ENUMS } from '../../../src/license/messages.ts';
import { isSystemId } from '../../../src/license/system-id.ts';
import { tokenBytes } from '../../../src/license/token.ts';
import { encodeToken, makeKeyPair, signingKey, signToken } from './signing.ts';

const USAGE = `usage: chr-agent-issue key NAME [--out DIR]
       chr-agent-issue token --key NAME.key --system-id ID --kind trial|paid|released [--level LEVEL] --serial N
                             [--issued-at DATE] [--next-renewal-at DATE] [--deadline-at DATE] [--account-hint TEXT]
                             [--base64] --out FILE
       chr-agent-issue show FILE

  key      makes NAME.key (private, stays with the vendor) and NAME.pem (for /etc/chr-agent/license-keys.d)
  token    signs a token for one system; dates as in 2026-01-31T12:00:00Z. Default: issued now, renewal in 30 days,
           deadline 30 days later; for a trial renewal in 30 days and end in 60
  show     what a token says; the signature is not checked
`;

const DAY_SECONDS = 86_400;

async function main([command, ...argv]: readonly string[]): Promise<void> {
  switch (command) {
    case 'key':
      return makeKey(argv);
    case 'token':
      return makeToken(argv);
    case 'show':
      return show(argv);
    default:
      process.stderr.write(USAGE);
      process.exitCode = command === '--help' || command === '-h' ? 0 : 2;
  }
}

function makeKey(argv: readonly string[]): void {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: { out: { type: 'string', default: '.' } },
    allowPositionals: true,
  });
  const [name] = positionals;
  if (name === undefined || !/^[A-Za-z0-9._-]+$/.test(name))
    throw new Error('a key needs a NAME of letters and digits');
  const { privatePem, publicPem } = makeKeyPair();
  // never over an old one: tokens in the field are signed with it
  writeFileSync(join(values.out, `${name}.key`), privatePem, { mode: 0o600, flag: 'wx' });
  writeFileSync(join(values.out, `${name}.pem`), publicPem, { mode: 0o644, flag: 'wx' });
}

async function makeToken(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      key: { type: 'string' },
      'system-id': { type: 'string' },
      kind: { type: 'string' },
      level: { type: 'string', default: 'free' },
      serial: { type: 'string' },
      'issued-at': { type: 'string' },
      'next-renewal-at': { type: 'string' },
      'deadline-at': { type: 'string' },
      'account-hint': { type: 'string', default: '' },
      base64: { type: 'boolean', default: false },
      out: { type: 'string' },
    },
  });
  const keyFile = need(values.key, '--key');
  const systemId = need(values['system-id'], '--system-id');
  if (!isSystemId(systemId)) throw new Error('--system-id is 11 base64 characters');
  const kind = oneOf(need(values.kind, '--kind'), ENUMS.Kind, '--kind');
  const level = oneOf(values.level, ENUMS.Level, '--level');
  const serial = Number(need(values.serial, '--serial'));
  if (!Number.isSafeInteger(serial) || serial < 1) throw new Error('--serial is a number from 1');
  const issuedAt = seconds(values['issued-at']) ?? Math.floor(Date.now() / 1000);
  const isDated = kind !== 'released';
  const nextRenewalAt = isDated ? (seconds(values['next-renewal-at']) ?? issuedAt + 30 * DAY_SECONDS) : 0;
  const deadlineAt = isDated ? (seconds(values['deadline-at']) ?? issuedAt + 60 * DAY_SECONDS) : 0;
  const token = await signToken(
    {
      systemId,
      level,
      kind,
      serial,
      issuedAt,
      trialEndsAt: kind === 'trial' ? deadlineAt : 0,
      nextRenewalAt,
      deadlineAt,
      accountHint: values['account-hint'],
    },
    signingKey(basename(keyFile).replace(/\.key$/, ''), readFileSync(keyFile, 'utf8')),
  );
  const bytes = Buffer.from(await encodeToken(token));
  writeFileSync(need(values.out, '--out'), values.base64 ? `${bytes.toString('base64')}\n` : bytes);
}

async function show([file]: readonly string[]): Promise<void> {
  const codec = await licenseCodec();
  const signed = codec.decode('SignedToken', tokenBytes(readFileSync(need(file, 'FILE'))));
  process.stdout.write(
    `${JSON.stringify({ keyId: signed.keyId, ...codec.decode('LicenseToken', signed.payload) }, null, 2)}\n`,
  );
}

function need(value: string | undefined, name: string): string {
  if (value === undefined || value === '') throw new Error(`${name} is missing`);
  return value;
}

function oneOf<Names extends Record<string, number>>(
  word: string,
  names: Names,
  option: string,
): keyof Names {
  if (!Object.hasOwn(names, word)) throw new Error(`${option} is one of ${Object.keys(names).join(', ')}`);
  return word;
}

function seconds(date: string | undefined): number | null {
  if (date === undefined) return null;
  const timeMs = Date.parse(date);
  if (Number.isNaN(timeMs)) throw new Error(`${date} is no date`);
  return Math.floor(timeMs / 1000);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`chr-agent-issue: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
});
