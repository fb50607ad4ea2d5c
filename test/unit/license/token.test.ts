/** licensing.md "Token": what is refused, and why. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { licenseCodec } from '../../../src/license/codec.ts';
import { TokenRefusedError, tokenBytes, verifyToken } from '../../../src/license/token.ts';
import { readVendorKeys } from '../../../src/license/vendor-keys.ts';
import { encodeToken, makeKeyPair, signingKey, signPayload } from '../../hosts/account-server/signing.ts';
import { RELEASED, STRANGER_KEY, TRIAL, tokenFields, tokenFile } from '../../support/licensed-guest.ts';
import { recordingLog } from '../../support/quiet-log.ts';

const SYSTEM = '6lR1ZP/utuJ';
const pair = makeKeyPair();
const KEY = signingKey('acme-2026', pair.privatePem);
const codec = await licenseCodec();

let keysDir: string;
beforeEach(() => {
  keysDir = mkdtempSync(join(tmpdir(), 'license-keys-'));
  writeFileSync(join(keysDir, 'acme-2026.pem'), pair.publicPem);
});
afterEach(() => rmSync(keysDir, { recursive: true }));

async function verify(bytes: Uint8Array) {
  const keys = await readVendorKeys(keysDir, recordingLog());
  return verifyToken(bytes, { codec, keys, systemId: SYSTEM });
}
const signed = (changes: Parameters<typeof tokenFields>[1] = {}) => tokenFile(SYSTEM, changes, KEY);

describe('a token', () => {
  it('of each kind is read', async () => {
    const day = 86_400_000;
    const start = tokenFields(SYSTEM).issuedAt * 1000;
    const common = { serial: 1, issuedAtMs: start, accountHint: '' };
    expect(await verify(await signed())).toEqual({
      ...common,
      kind: 'paid',
      level: 'p10',
      nextRenewalAtMs: start + 30 * day,
      deadlineAtMs: start + 60 * day,
    });
    expect(await verify(await signed({ ...TRIAL, level: 'p1' }))).toEqual({
      ...common,
      kind: 'trial',
      level: 'p1',
      nextRenewalAtMs: start + 30 * day,
      trialEndsAtMs: start + 60 * day,
    });
    expect(await verify(await signed({ ...RELEASED, serial: 9 }))).toEqual({
      ...common,
      serial: 9,
      kind: 'released',
    });
  });

  it.each<[string, Parameters<typeof tokenFields>[1], RegExp]>([
    ['an unknown level', { level: null }, /its level is unknown/],
    ['an unknown kind', { kind: null }, /its kind is unknown/],
    ['a paid free level', { level: 'free' }, /it is paid and free/],
    ['a released level', { ...RELEASED, level: 'p1' }, /it is released and has a level/],
    ['another system', { systemId: 'AAAAAAAAAAA' }, /it is for the system AAAAAAAAAAA/],
    ['no system', { systemId: '' }, /it is for the system $/],
    ['no serial', { serial: 0 }, /no serial/],
    ['no renewal date', { nextRenewalAt: 0 }, /its dates make no sense/],
    ['no deadline', { deadlineAt: 0 }, /dates/],
    ['a renewal after the deadline', { nextRenewalAt: 10, deadlineAt: 9 }, /dates/],
    ['a paid license with a trial end', { trialEndsAt: 5 }, /dates/],
    ['a trial without an end', { kind: 'trial' }, /dates/],
    ['a trial with another deadline', { ...TRIAL, deadlineAt: TRIAL.trialEndsAt + 1 }, /dates/],
    ['a date that is none', { deadlineAt: Number.MAX_SAFE_INTEGER }, /dates/],
  ])('with %s is refused', async (_, changes, message) => {
    const refused = verify(await signed(changes));
    await expect(refused).rejects.toThrow(TokenRefusedError);
    await expect(refused).rejects.toThrow(message);
  });

  it('of a level that a later version knows is refused, not guessed', async () => {
    const payload = Buffer.from(codec.encode('LicenseToken', tokenFields(SYSTEM, { level: 'p10' })));
    const at = payload.indexOf(Buffer.of(0x10, 3));
    payload[at + 1] = 5;
    await expect(verify(await encodeToken(signPayload(payload, KEY)))).rejects.toThrow(
      'its level is unknown',
    );
  });

  it.each([
    [
      'signed by another key of that name',
      async () => tokenFile(SYSTEM, {}, { ...STRANGER_KEY, id: KEY.id }),
    ],
    [
      'whose payload was changed',
      async () => {
        const token = codec.decode('SignedToken', await signed({ level: 'p1' }));
        return encodeToken({ ...token, payload: codec.encode('LicenseToken', tokenFields(SYSTEM)) });
      },
    ],
    [
      'without a signature',
      async () => encodeToken({ ...signPayload(Buffer.of(1), KEY), signature: Buffer.of() }),
    ],
  ])('%s is refused', async (_, make) => {
    await expect(verify(await make())).rejects.toThrow('its signature is wrong');
  });

  it('may be pasted as base64', async () => {
    const file = await signed();
    const text = Buffer.from(file)
      .toString('base64')
      .replace(/(.{40})/g, '$1\n');
    expect(await verify(tokenBytes(Buffer.from(`${text}\n`)))).toEqual(await verify(tokenBytes(file)));
  });

  it('that is too long is refused unread', async () => {
    await expect(verify(new Uint8Array(65_537))).rejects.toThrow('it is too long');
  });

  it('that is cut, changed in any bit, or garbage is refused', async () => {
    const good = await signed();
    const keys = await readVendorKeys(keysDir, recordingLog());
    const read = (bytes: Uint8Array) => verifyToken(bytes, { codec, keys, systemId: SYSTEM });
    for (let length = 0; length < good.length; length += 1) {
      expect(() => read(good.subarray(0, length))).toThrow(TokenRefusedError);
    }
    for (let bit = 0; bit < good.length * 8; bit += 1) {
      const changed = Uint8Array.from(good);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(() => read(changed)).toThrow(TokenRefusedError);
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (garbage) => {
        expect(() => read(garbage)).toThrow(TokenRefusedError);
      }),
    );
  });
});

describe("the vendor's keys", () => {
  it('are all that is there', async () => {
    const other = makeKeyPair();
    writeFileSync(join(keysDir, 'acme-2027.pem'), other.publicPem);
    expect(await verify(await tokenFile(SYSTEM, {}, signingKey('acme-2027', other.privatePem)))).toBeTruthy();
    expect(await verify(await signed())).toBeTruthy();
  });

  it('of a name that is not there refuse', async () => {
    const token = tokenFile(SYSTEM, {}, { ...KEY, id: 'acme-1999' });
    await expect(verify(await token)).rejects.toThrow("no license key 'acme-1999' is installed");
    const evil = tokenFile(SYSTEM, {}, { ...KEY, id: '../acme-2026\u001b[2J' });
    await expect(verify(await evil)).rejects.toThrow("no license key '../acme-2026?[2J' is installed");
  });

  it('without a key every token is refused', async () => {
    rmSync(join(keysDir, 'acme-2026.pem'));
    await expect(verify(await signed())).rejects.toThrow('no license key is installed');
    rmSync(keysDir, { recursive: true });
    await expect(verify(await signed())).rejects.toThrow('no license key is installed');
    // for afterEach
    keysDir = mkdtempSync(join(tmpdir(), 'license-keys-'));
  });

  it('leave out what is no Ed25519 public key, and say so', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 });
    writeFileSync(join(keysDir, 'rsa.pem'), rsa.publicKey.export({ type: 'spki', format: 'pem' }));
    writeFileSync(join(keysDir, 'private.pem'), pair.privatePem);
    writeFileSync(join(keysDir, 'text.pem'), 'hello');
    writeFileSync(join(keysDir, 'README'), 'hello');
    const log = recordingLog();
    expect((await readVendorKeys(keysDir, log)).ids).toEqual(['acme-2026']);
    expect(log.lines.map((line) => line.replaceAll(keysDir, ''))).toEqual([
      expect.stringMatching(/^warning: license key \/private.pem is not used: holds a private key/),
      'warning: license key /rsa.pem is not used: not an Ed25519 key',
      expect.stringMatching(/^warning: license key \/text.pem is not used: /),
    ]);
  });
});
