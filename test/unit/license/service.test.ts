/** The license service: bad input leaves everything as it was, the start, the freeze, the keys. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type AccountServer,
  type Misbehaviour,
  startAccountServer,
} from '../../hosts/account-server/server.ts';
import { encodeToken, signToken } from '../../hosts/account-server/signing.ts';
import {
  DAY_MS,
  HOUR_MS,
  type LicensedGuest,
  RELEASED,
  START_MS,
  STRANGER_KEY,
  startGuest,
  TRIAL,
  tokenFields,
  tokenFile,
  VENDOR_KEY,
} from '../../support/licensed-guest.ts';

let guest: LicensedGuest;
beforeEach(async () => {
  guest = await startGuest();
});
afterEach(() => guest[Symbol.asyncDispose]());

const systemId = () => guest.service.report().systemId;
const disk = () => readFileSync(guest.stateFile, 'utf8');
const importToken = async (changes: Parameters<typeof tokenFile>[1] = {}, key = VENDOR_KEY) =>
  guest.service.importToken(await tokenFile(systemId(), changes, key));

describe('the first start', () => {
  it('makes a system id, and the next ones keep it', async () => {
    const id = systemId();
    expect(id).toMatch(/^[A-Za-z0-9+/]{11}$/);
    await guest.restart();
    expect(systemId()).toBe(id);
    expect(guest.log.lines).toEqual([`info: license: this system's id is ${id}`]);
  });

  it('with a disk that cannot be written is free', async () => {
    await using other = await startGuest({ prepare: (stateDir) => writeFileSync(stateDir, 'a file') });
    expect(other.service.level()).toBe('free');
    expect(other.log.lines[0]).toMatch(
      /^error: license: the license state cannot be used: .*; the level is free$/,
    );
    expect(() => other.service.report()).toThrow('the license state cannot be used');
    await expect(other.service.generateNewId()).rejects.toThrow('the license state cannot be used');
  });
});

describe('importing a token', () => {
  it('takes effect at once and after a restart', async () => {
    const levels: string[] = [];
    const stop = guest.service.onLevelChange((level) => levels.push(level));
    await importToken();
    expect(guest.service.report()).toMatchObject({ level: 'p10', state: 'paid', canHaveNewId: false });
    await importToken({ level: 'p-unlimited', serial: 2 });
    stop();
    await importToken({ ...RELEASED, serial: 3 });
    expect(levels).toEqual(['p10', 'p-unlimited']);
    expect(guest.service.level()).toBe('free');
    await guest.restart();
    expect(guest.service.report()).toMatchObject({ level: 'free', state: 'free', canHaveNewId: false });
  });

  it('that is bad changes nothing, in memory or on the disk', async () => {
    await importToken({ level: 'p1', serial: 5 });
    const before = { disk: disk(), report: guest.service.report() };
    const good = await tokenFile(systemId(), { serial: 6 });
    const refused = async (file: Uint8Array) => {
      await expect(guest.service.importToken(file)).rejects.toThrow(/^the token is refused: /);
      expect({ disk: disk(), report: guest.service.report() }).toEqual(before);
    };
    await refused(await tokenFile(systemId(), { serial: 6 }, STRANGER_KEY));
    await refused(await tokenFile('AAAAAAAAAAA', { serial: 6 }));
    await refused(await tokenFile(systemId(), { serial: 4 }));
    await refused(await tokenFile(systemId(), { serial: 6, level: null }));
    await refused(await tokenFile(systemId(), { serial: 6, kind: null }));
    await refused(await tokenFile(systemId(), { ...TRIAL, serial: 6 }));
    await refused(await tokenFile(systemId(), { ...RELEASED, serial: 4 }));
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length * 8 - 1), async (bit) => {
        const changed = Uint8Array.from(good);
        changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        await refused(changed);
      }),
      { numRuns: 50 },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), (length) => refused(good.subarray(0, length))),
      { numRuns: 20 },
    );
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), refused), { numRuns: 20 });
    await guest.service.importToken(good);
    expect(guest.service.level()).toBe('p10');
  });

  it('that cannot be stored changes nothing', async () => {
    await importToken({ level: 'p1' });
    const before = disk();
    mkdirSync(`${guest.stateFile}.new`);
    await expect(importToken({ serial: 2 })).rejects.toThrow('EISDIR');
    expect(guest.service.level()).toBe('p1');
    expect(disk()).toBe(before);
  });

  it('wants no other downgrade than a release', async () => {
    await importToken({ level: 'p-unlimited' });
    await expect(importToken({ level: 'p1', serial: 2 })).rejects.toThrow('does not go down');
    expect(guest.service.level()).toBe('p-unlimited');
  });
});

describe('a damaged state', () => {
  it('is kept aside, the level is free, and the id stays', async () => {
    await importToken();
    const id = systemId();
    writeFileSync(guest.stateFile, disk().replace('"highestSerial":1', '"highestSerial":0'));
    await guest.restart();
    expect(guest.service.report()).toMatchObject({ systemId: id, level: 'free', canHaveNewId: false });
    expect(guest.log.lines.at(-1)).toMatch(
      /^warning: license: .* is damaged, it is kept as .*; the level is free$/,
    );
    expect(readdirSync(join(guest.stateFile, '..')).sort()).toEqual([
      'license.state',
      'license.state.damaged',
      'system-id',
    ]);
    // the server's next token makes it good again
    await importToken({ serial: 2 });
    expect(guest.service.level()).toBe('p10');
  });

  it('of a later version is left alone', async () => {
    const text = '{"version":99}';
    writeFileSync(guest.stateFile, text);
    await guest.restart();
    expect(guest.service.level()).toBe('free');
    await expect(importToken).rejects.toThrow('was written by a later version of chr-agent (form 99)');
    expect(disk()).toBe(text);
  });
});

describe('the stored token', () => {
  it('without its key is worth nothing, and again with it after a reload', async () => {
    await importToken();
    const pem = readFileSync(join(guest.keysDir, 'vendor-1.pem'));
    rmSync(join(guest.keysDir, 'vendor-1.pem'));
    await guest.restart();
    expect(guest.service.report()).toMatchObject({
      level: 'free',
      state: 'free',
      problem: 'the stored token does not count: no license key is installed',
    });
    expect(guest.log.lines.at(-1)).toBe(
      'warning: license: the stored token does not count: no license key is installed; the level is free',
    );
    await expect(guest.service.generateNewId()).rejects.toThrow('the system id stays');
    writeFileSync(join(guest.keysDir, 'vendor-1.pem'), pem);
    await guest.service.reload();
    expect(guest.service.report()).toMatchObject({ level: 'p10', state: 'paid', problem: null });
  });

  it('is verified before the level is said to be known', async () => {
    await importToken();
    const restarted = guest.restart();
    await new Promise(setImmediate);
    await guest.service.loaded;
    expect(guest.service.level()).toBe('p10');
    await restarted;
  });
});

describe('while file systems are frozen', () => {
  it('changes are refused, reports are not', async () => {
    await importToken();
    await guest.gate.shut();
    await expect(importToken({ serial: 2 })).rejects.toThrow(
      'file systems are frozen: try again after the thaw',
    );
    await expect(guest.service.generateNewId()).rejects.toThrow('frozen');
    await expect(guest.renew('a', 'b')).rejects.toThrow('frozen');
    expect(guest.service.report().level).toBe('p10');
    guest.gate.open();
    await importToken({ serial: 2 });
  });

  it('nothing is written or read: not at the start, and no attempt is made', async () => {
    await guest.gate.shut();
    rmSync(join(guest.stateFile, '..'), { recursive: true });
    const restarted = guest.restart();
    await new Promise(setImmediate);
    expect(existsSync(guest.stateFile)).toBe(false);
    guest.gate.open();
    await restarted;
    expect(existsSync(guest.stateFile)).toBe(true);

    await importToken();
    const before = disk();
    await guest.gate.shut();
    // the timer's work waits: so do not wait for it
    await guest.clock.advance(3 * HOUR_MS);
    expect(disk()).toBe(before);
    guest.gate.open();
    await guest.service.settled();
    expect(disk()).not.toBe(before);
  });
});

describe('the time', () => {
  it('is recorded once an hour with a license, and not without one', async () => {
    const free = disk();
    await guest.advance(10 * DAY_MS);
    expect(disk()).toBe(free);
    expect(guest.clock.timers).toBe(0);
    await importToken({ issuedAt: START_MS / 1000 });
    const seen = new Set<string>();
    for (let minute = 0; minute < 24 * 60; minute += 1) {
      await guest.advance(60_000);
      seen.add(disk());
    }
    expect(seen.size).toBeLessThanOrEqual(25);
    expect(seen.size).toBeGreaterThanOrEqual(24);
    expect(guest.clock.timers).toBe(1);
  });

  it('leaves no timer behind', async () => {
    await importToken();
    expect(guest.clock.timers).toBe(1);
    await guest.service.stop();
    expect(guest.clock.timers).toBe(0);
  });
});

describe('renewals', () => {
  let server: AccountServer;
  beforeEach(async () => {
    server = await startAccountServer({
      key: VENDOR_KEY,
      nowMs: () => START_MS + guest.clock.monotonicMs(),
    });
    server.book.addAccount('ann', 'secret');
    guest.settings.accountServer = server.url;
  });
  afterEach(() => server[Symbol.asyncDispose]());

  it.each<[string, Misbehaviour, RegExp]>([
    ['hangs', { kind: 'hang' }, /nothing within 2 s/],
    ['breaks off', { kind: 'down' }, /does not answer/],
    ['sends garbage', { kind: 'body', body: Buffer.from('garbage') }, /sent garbage/],
    [
      'sends an old answer',
      { kind: 'response', change: (answer) => ({ ...answer, nonce: Buffer.alloc(16) }) },
      /another nonce/,
    ],
    [
      'sends a forged token',
      {
        kind: 'response',
        change: (answer) => ({
          ...answer,
          token: answer.token && { ...answer.token, signature: Buffer.alloc(64) },
        }),
      },
      /the account server's token is refused: its signature is wrong/,
    ],
  ])('by hand with a server that %s change nothing', async (_, how, message) => {
    server.misbehave(how);
    const free = disk();
    await expect(guest.renew('ann', 'secret', 'p1')).rejects.toThrow(message);
    expect(disk()).toBe(free);
    expect(guest.service.report()).toMatchObject({ level: 'free', state: 'free' });

    server.misbehave(null);
    await guest.renew('ann', 'secret', 'p1');
    server.misbehave(how);
    const trial = disk();
    await expect(guest.renew('ann', 'secret', 'p1')).rejects.toThrow(message);
    expect(disk()).toBe(trial);
    expect(guest.service.report()).toMatchObject({ level: 'p1', state: 'trial' });
  });

  it('by hand wipe the password', async () => {
    const password = Buffer.from('secret');
    await guest.service.renew({ account: 'ann', password, level: 'p1' });
    expect(password).toEqual(Buffer.alloc(6));
    const wrong = Buffer.from('wrong');
    await expect(guest.service.renew({ account: 'ann', password: wrong, level: '' })).rejects.toThrow(
      'wrong password',
    );
    expect(wrong).toEqual(Buffer.alloc(5));
    expect(guest.log.lines.join()).not.toMatch(/secret|wrong\b/);
  });

  it('by hand need a level only at first', async () => {
    await expect(guest.renew('ann', 'secret', 'p2')).rejects.toThrow(
      'the level is one of p1, p10, p-unlimited',
    );
    await expect(guest.renew('ann', 'secret', 'free')).rejects.toThrow('the level is one of');
    await expect(guest.renew('ann', 'secret')).rejects.toThrow('the account server does not know this level');
    await guest.renew('ann', 'secret', 'p1');
    await guest.renew('ann', 'secret', 'p10');
    await guest.renew('ann', 'secret');
    await guest.renew('ann', 'secret', 'nonsense');
    expect(guest.service.level()).toBe('p1');
  });

  it('need an account server', async () => {
    guest.settings.accountServer = null;
    await expect(guest.renew('ann', 'secret', 'p1')).rejects.toThrow('no account server is configured');
    await importToken();
    await guest.advance(31 * DAY_MS);
    expect(guest.service.report()).toMatchObject({ state: 'paid-renewing', problem: null });
    expect(guest.clock.timers).toBe(1);
  });

  it('by itself are one an hour even if nothing can be stored', async () => {
    await importToken();
    mkdirSync(`${guest.stateFile}.new`);
    server.misbehave({ kind: 'down' });
    await guest.advance(30 * DAY_MS + 5.5 * HOUR_MS);
    expect(server.requests).toHaveLength(6);
    expect(guest.log.lines.some((line) => /^error: license: cannot be stored: EISDIR/.test(line))).toBe(true);
  });

  it('name a CA file that cannot be read', async () => {
    guest.settings.caFile = join(guest.directory, 'nowhere.pem');
    await expect(guest.renew('ann', 'secret', 'p1')).rejects.toThrow('ENOENT');
    await importToken();
    await guest.advance(30 * DAY_MS + HOUR_MS);
    expect(guest.service.report().problem).toMatch(/ENOENT/);
  });

  it('by itself end with an error answer, whose reason is shown, and the level stays', async () => {
    await importToken();
    await guest.advance(30 * DAY_MS + 5 * HOUR_MS);
    expect(server.requests).toHaveLength(1);
    expect(guest.service.report()).toMatchObject({
      level: 'p10',
      state: 'paid-renewing',
      problem: 'the account server refused: the system is not registered',
    });
    await guest.restart();
    await guest.advance(40 * DAY_MS);
    expect(server.requests).toHaveLength(1);
    expect(guest.service.report()).toMatchObject({ level: 'p10', state: 'paid-expired' });
    expect(guest.service.report().problem).toMatch(/not registered/);
  });

  it('by itself go on while the server is busy', async () => {
    server.misbehave({
      kind: 'response',
      change: ({ nonce }) => ({ status: 'busy', message: '', token: null, nonce }),
    });
    await importToken();
    await guest.advance(30 * DAY_MS + 5 * HOUR_MS);
    expect(server.requests.length).toBeGreaterThanOrEqual(5);
    expect(guest.service.report().problem).toBe('the account server is busy, try again later');
  });

  it('by itself never turn a trial into a license', async () => {
    await importToken({ ...TRIAL });
    const paid = await signToken(tokenFields(systemId(), { serial: 2 }), VENDOR_KEY);
    server.misbehave({
      kind: 'response',
      change: ({ nonce }) => ({ status: 'ok', message: '', token: paid, nonce }),
    });
    await guest.advance(30 * DAY_MS + HOUR_MS);
    expect(guest.service.report()).toMatchObject({ state: 'trial', level: 'p10' });
    expect(guest.service.report().problem).toMatch(/run 'chr-agent license renew'/);
    await guest.service.importToken(await encodeToken(paid));
    expect(guest.service.report()).toMatchObject({ state: 'paid-renewing', level: 'p10' });
  });

  it('by itself are one an hour even if every answer is due again', async () => {
    await importToken();
    let serial = 1;
    const stale = await Promise.all(
      Array.from({ length: 10 }, () =>
        signToken(tokenFields(systemId(), { serial: ++serial, nextRenewalAt: START_MS / 1000 }), VENDOR_KEY),
      ),
    );
    server.misbehave({
      kind: 'response',
      change: ({ nonce }) => ({ status: 'ok', message: '', token: stale.shift() ?? null, nonce }),
    });
    await guest.advance(30 * DAY_MS);
    const before = server.requests.length;
    await guest.advance(5 * HOUR_MS);
    expect(server.requests.length - before).toBe(5);
  });

  it('by hand come before one by itself that hangs', async () => {
    await guest.renew('ann', 'secret', 'p1');
    server.misbehave({ kind: 'hang' });
    // the timer's attempt is under way now
    await guest.clock.advance(30 * DAY_MS - HOUR_MS, () => guest.service.settled());
    await guest.clock.advance(HOUR_MS + 1000);
    const hanging = server.requests.length;
    server.misbehave(null);
    await guest.renew('ann', 'secret');
    expect(guest.service.report()).toMatchObject({ state: 'trial', problem: null });
    expect(server.requests.length).toBeGreaterThanOrEqual(hanging);
  });
});
