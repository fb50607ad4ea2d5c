/** The whole life of a license against the account server over loopback HTTP, by a virtual clock. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { upgradesAllowed } from '../../../src/license/lifecycle.ts';
import { type AccountServer, startAccountServer } from '../../hosts/account-server/server.ts';
import {
  DAY_MS,
  HOUR_MS,
  type LicensedGuest,
  START_MS,
  startGuest,
  VENDOR_KEY,
} from '../../support/licensed-guest.ts';
import { type VirtualClock, virtualClock } from '../../support/virtual-clock.ts';

let clock: VirtualClock;
let server: AccountServer;
let guest: LicensedGuest;
beforeEach(async () => {
  clock = virtualClock(START_MS);
  // the world's time goes on even if a guest's clock is set
  server = await startAccountServer({ key: VENDOR_KEY, nowMs: () => START_MS + clock.monotonicMs() });
  server.book.addAccount('ann', 'secret');
  guest = await startGuest({ accountServer: server.url, clock });
});
afterEach(async () => {
  await guest[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const report = () => guest.service.report();
const upgrades = () => upgradesAllowed(report());
const day = (number: number) => START_MS + number * DAY_MS;
const serverSeconds = () => (START_MS + clock.monotonicMs()) / 1000;

describe('the life of a license', () => {
  it('goes from free over a trial and a license to a lost server and back', {
    timeout: 120_000,
  }, async () => {
    const levels: string[] = [];
    guest.service.onLevelChange((level) => levels.push(level));
    expect(report()).toMatchObject({ level: 'free', state: 'free', canHaveNewId: true, deadlineAtMs: null });
    expect(clock.timers).toBe(0);
    await guest.advance(10 * DAY_MS);
    expect(server.requests).toHaveLength(0);

    // a trial of p10 on day 10, to day 70
    await guest.renew('ann', 'secret', 'p10');
    expect(report()).toMatchObject({
      level: 'p10',
      state: 'trial',
      nextRenewalAtMs: day(40),
      deadlineAtMs: day(70),
      trialEndsAtMs: day(70),
      canHaveNewId: false,
      problem: null,
    });

    // the hourly attempts run for a trial too; on day 40 the server answers the first
    await guest.advance(30 * DAY_MS + HOUR_MS);
    expect(server.requests).toHaveLength(2);
    expect(server.requests[1]).toMatchObject({ account: '', currentSerial: 1, agentVersion: '1.2.3' });
    expect(server.requests[1]?.token).not.toBeNull();
    expect(report()).toMatchObject({ state: 'trial', level: 'p10', deadlineAtMs: day(70) });

    // its end: limited upgrades, the speed stays
    await guest.advance(30 * DAY_MS);
    expect(clock.wallMs()).toBeGreaterThan(day(70));
    expect(report()).toMatchObject({ level: 'p10', state: 'trial-ended' });
    expect(report().problem).toMatch(/refused: the trial has ended: buy a license/);
    expect(upgrades()).toBe(false);

    // bought, and only a renewal by hand takes it
    server.book.buy(report().systemId, 'p1', serverSeconds());
    await guest.advance(5 * DAY_MS);
    expect(report()).toMatchObject({ level: 'p10', state: 'trial-ended' });
    await guest.renew('ann', 'secret', 'p-unlimited');
    const taken = clock.wallMs();
    expect(upgrades()).toBe(true);
    expect(report()).toMatchObject({ level: 'p1', state: 'paid', trialEndsAtMs: null, problem: null });
    expect(report().nextRenewalAtMs).toBe(taken + 30 * DAY_MS);
    expect(report().deadlineAtMs).toBe(taken + 60 * DAY_MS);

    // two renewals by itself, each one request
    const before = server.requests.length;
    await guest.advance(61 * DAY_MS);
    expect(server.requests).toHaveLength(before + 2);
    expect(report()).toMatchObject({ level: 'p1', state: 'paid' });

    // the server is down: an attempt an hour, then past the deadline: speed kept, upgrades refused
    server.misbehave({ kind: 'down' });
    await guest.advance(30 * DAY_MS);
    expect(report().state).toBe('paid-renewing');
    expect(upgrades()).toBe(true);
    expect(report().problem).toMatch(/the account server does not answer/);
    const attempts = server.requests.length;
    await guest.advance(DAY_MS);
    expect(server.requests.length - attempts).toBe(24);
    await guest.advance(30 * DAY_MS);
    expect(report()).toMatchObject({ level: 'p1', state: 'paid-expired' });

    expect(upgrades()).toBe(false);

    // also after a restart, which makes no more attempts than one an hour
    await guest.restart();
    expect(report()).toMatchObject({ level: 'p1', state: 'paid-expired' });
    expect(report().problem).toMatch(/does not answer/);
    const restarted = server.requests.length;
    await guest.advance(HOUR_MS);
    expect(server.requests.length - restarted).toBe(1);

    // it is back
    server.misbehave(null);
    await guest.advance(HOUR_MS);
    expect(report()).toMatchObject({ level: 'p1', state: 'paid', problem: null });
    expect(upgrades()).toBe(true);
    expect(levels).toEqual(['p10', 'p1']);
    expect(guest.log.lines.join('\n')).not.toMatch(/secret|ann\b/);
  });

  it('of a trial ends for good 60 days after its end', async () => {
    await guest.renew('ann', 'secret', 'p1');
    await guest.advance(119 * DAY_MS);
    await expect(guest.renew('ann', 'secret', 'p1')).rejects.toThrow('buy a license');
    await guest.advance(2 * DAY_MS);
    expect(() => server.book.buy(report().systemId, 'p1', serverSeconds())).toThrow('too long ago');
    await expect(guest.renew('ann', 'secret', 'p1')).rejects.toThrow(
      'this system cannot get a license any more, a fresh installation is needed',
    );
    expect(report()).toMatchObject({ level: 'p1', state: 'trial-ended' });
  });

  it('goes up at the next renewal, and never down', async () => {
    await guest.renew('ann', 'secret', 'p1');
    server.book.buy(report().systemId, 'p1', serverSeconds());
    await guest.renew('ann', 'secret');
    server.book.buy(report().systemId, 'p-unlimited', serverSeconds());
    expect(server.book.spare('ann')).toEqual(['p1']);
    expect(() => server.book.buy(report().systemId, 'p10', serverSeconds())).toThrow('only upgrades');
    expect(report().level).toBe('p1');
    await guest.advance(31 * DAY_MS);
    expect(report()).toMatchObject({ level: 'p-unlimited', state: 'paid' });
  });
});

describe('a transfer', () => {
  it('of p10 from A to B leaves A free, and an old token of A is worth nothing', async () => {
    await using b = await startGuest({ accountServer: server.url, clock });
    await guest.renew('ann', 'secret', 'p10');
    await b.renew('ann', 'secret', 'p1');
    server.book.buy(report().systemId, 'p10', serverSeconds());
    await guest.renew('ann', 'secret');
    const state = JSON.parse(readFileSync(guest.stateFile, 'utf8'));
    const oldToken = Buffer.from(state.license.token, 'base64');

    server.book.transfer(report().systemId, b.service.report().systemId);
    await b.renew('ann', 'secret');
    expect(b.service.report()).toMatchObject({ level: 'p10', state: 'paid' });
    // A learns of it at its next renewal
    expect(report()).toMatchObject({ level: 'p10', state: 'paid' });
    await guest.advance(30 * DAY_MS + HOUR_MS);
    expect(report()).toMatchObject({ level: 'free', state: 'free', deadlineAtMs: null, canHaveNewId: false });
    expect(guest.log.lines).toContain('info: license: free');

    const after = readFileSync(guest.stateFile, 'utf8');
    await expect(guest.service.importToken(oldToken)).rejects.toThrow(
      /refused: its serial 2 is older than 3/,
    );
    await guest.restart();
    await expect(guest.service.importToken(oldToken)).rejects.toThrow(/older than 3/);
    expect(report()).toMatchObject({ level: 'free', state: 'free' });
    expect(readFileSync(guest.stateFile, 'utf8')).toBe(after);
    await expect(guest.service.generateNewId()).rejects.toThrow(/the system id stays/);

    // nothing more is asked, and a new license can be bought for A
    const asked = server.requests.length;
    await guest.advance(90 * DAY_MS);
    expect(server.requests.slice(asked).filter(({ systemId }) => systemId === report().systemId)).toEqual([]);
    await expect(guest.renew('ann', 'secret', 'p1')).rejects.toThrow('gave its license away');
    server.book.buy(report().systemId, 'p1', serverSeconds());
    await guest.renew('ann', 'secret', 'p1');
    expect(report()).toMatchObject({ level: 'p1', state: 'paid' });
  });
});

describe('a copy of the disk', () => {
  it('has the same id and the same trial history', async () => {
    await guest.renew('ann', 'secret', 'p10');
    await using copy = await startGuest({ accountServer: server.url, clock, copyOf: guest });
    expect(copy.service.report()).toEqual(report());
    await guest.advance(100 * DAY_MS);
    await expect(copy.renew('ann', 'secret', 'p10')).rejects.toThrow('the trial has ended');
    await expect(copy.service.generateNewId()).rejects.toThrow('has or had a trial or license');
  });

  it('that was made before can have an id of its own', async () => {
    await using copy = await startGuest({ accountServer: server.url, clock, copyOf: guest });
    const id = await copy.service.generateNewId();
    expect(id).toMatch(/^[A-Za-z0-9+/]{11}$/);
    expect(id).not.toBe(report().systemId);
    await copy.restart();
    expect(copy.service.report()).toMatchObject({ systemId: id, canHaveNewId: true });
    await copy.renew('ann', 'secret', 'p1');
    await guest.renew('ann', 'secret', 'p1');
    expect(server.requests.map(({ systemId }) => systemId)).toEqual([id, report().systemId]);
  });
});

describe('a clock that is set back', () => {
  it('extends nothing', async () => {
    await guest.renew('ann', 'secret', 'p10');
    server.misbehave({ kind: 'down' });
    await guest.advance(50 * DAY_MS);
    clock.setWall(START_MS);
    // what is left of the trial, and not a day more
    await guest.advance(9 * DAY_MS);
    expect(report().state).toBe('trial');
    clock.setWall(START_MS);
    await guest.advance(DAY_MS + HOUR_MS);
    expect(report()).toMatchObject({ state: 'trial-ended', level: 'p10' });
    // nor after a restart, when only the record is left
    clock.setWall(0);
    await guest.restart();
    expect(report().state).toBe('trial-ended');
  });

  it('costs an hour of the record at most', async () => {
    await guest.renew('ann', 'secret', 'p10');
    server.misbehave({ kind: 'down' });
    await guest.advance(60 * DAY_MS - 30 * 60_000);
    clock.setWall(START_MS);
    await guest.restart();
    expect(report().state).toBe('trial');
    await guest.advance(90 * 60_000);
    expect(report().state).toBe('trial-ended');
  });
});
