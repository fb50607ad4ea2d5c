/** Logins against accounts of the test's own (spec vmware.md section 7.3). */
import { mkdtempSync, rmSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createAuthentication, type LoginPolicy } from '../../../src/guest/authentication.ts';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import { native } from '../../../src/native/index.ts';
import { GROUP_ID, makeAccounts, PASSWORD, PASSWORD_HASH, USER_ID } from '../../support/guest-accounts.ts';
import { recordingLog } from '../../support/quiet-log.ts';

const POLICY: LoginPolicy = { users: ['root'], groups: ['chr-agent'], emptyPassword: [] };

let root: string;
beforeEach(() => {
  root = makeAccounts(mkdtempSync(join(tmpdir(), 'accounts-')));
});
afterEach(() => rmSync(root, { recursive: true }));

function open(policy: Partial<LoginPolicy> = {}, hashed: string[] = []) {
  const log = recordingLog();
  const waits: number[] = [];
  const clock = { nowMs: Date.UTC(2026, 10, 25) };
  const authentication = createAuthentication({
    native: {
      checkPassword: (password, hash) => {
        hashed.push(hash);
        return native.checkPassword(password, hash);
      },
    },
    log,
    gate: createFreezeGate(),
    policy: { ...POLICY, ...policy },
    root,
    nowMs: () => clock.nowMs,
    wait: async (timeMs) => void waits.push(timeMs),
  });
  return {
    log,
    waits,
    clock,
    login: (name: string, password = PASSWORD) => authentication.authenticate(name, Buffer.from(password)),
  };
}

describe('a login', () => {
  it('gives who it is, with the groups', async () => {
    expect(await open().login('operator')).toEqual({
      name: 'operator',
      uid: USER_ID,
      gid: GROUP_ID,
      groups: [GROUP_ID, 64_125, 64_126],
      home: '/',
      shell: '/bin/sh',
    });
    expect(await open().login('root')).toMatchObject({ uid: 0, groups: [0] });
  });

  it('finds a hash that stands in the passwd file', async () => {
    expect(await open().login('old')).toMatchObject({ uid: 64_209 });
  });

  it.each([
    ['operator', 'wrong', 'the password is wrong'],
    ['operator', '', 'the password is wrong'],
    ['nobody-here', PASSWORD, 'there is no such account'],
    ['', PASSWORD, 'there is no such account'],
    ['+nis', PASSWORD, 'there is no such account'],
    ['locked', PASSWORD, 'the account is locked'],
    ['starred', PASSWORD, 'the account is locked'],
    ['expired', PASSWORD, 'the account has expired'],
    ['stale', PASSWORD, 'the password has expired'],
    ['change', PASSWORD, 'the password must be changed'],
    ['shellless', PASSWORD, 'the shell is not in /etc/shells'],
    ['unshadowed', PASSWORD, 'the account has no entry in the shadow file'],
    ['stranger', PASSWORD, 'the configuration does not allow this user'],
    ['admin', '', 'the configuration does not allow this user'],
    ['operator', 'with\0nul', 'the hash of the password cannot be checked (errno 22)'],
    ['operator', 'x'.repeat(5000), 'the hash of the password cannot be checked (errno 22)'],
  ])('of %s with %j is refused with one line in the log and the same work', async (name, password, why) => {
    const hashed: string[] = [];
    const { login, log } = open({}, hashed);
    expect(await login(name, password)).toBeNull();
    expect(log.lines).toEqual([`warning: login of ${JSON.stringify(name)} refused: ${why}`]);
    expect(hashed).toEqual([PASSWORD_HASH]);
  });

  it('needs no password only where the account has none and the configuration allows that', async () => {
    const { login } = open({ emptyPassword: ['admin', 'operator'] });
    expect(await login('admin', '')).toMatchObject({ uid: 64_200 });
    expect(await login('admin', 'x')).toBeNull();
    expect(await login('operator', '')).toBeNull();
    expect(await open({ users: ['*'] }).login('admin', '')).toBeNull();
  });

  it('is for all users with *', async () => {
    expect(await open({ users: ['*'] }).login('stranger')).toMatchObject({ uid: 64_201 });
  });

  it('is refused later and later, until it is right or some time has passed', async () => {
    const { login, waits, clock } = open();
    for (let count = 0; count < 5; count += 1) await login('operator', 'wrong');
    await login('root', 'wrong');
    expect(waits).toEqual([250, 500, 1000, 2000, 2000, 250]);
    expect(await login('operator')).not.toBeNull();
    await login('operator', 'wrong');
    await login('root', 'wrong');
    clock.nowMs += 15 * 60_000;
    await login('root', 'wrong');
    expect(waits.slice(6)).toEqual([250, 500, 250]);
  });

  it('takes /bin/sh for a shell where there is no list of them', async () => {
    unlinkSync(join(root, 'etc/shells'));
    expect(await open().login('operator')).not.toBeNull();
    expect(await open().login('shellless')).toBeNull();
  });

  it('is refused where there are no accounts', async () => {
    rmSync(join(root, 'etc'), { recursive: true });
    const { login, log } = open();
    expect(await login('root')).toBeNull();
    expect(log.lines).toHaveLength(1);
  });
});

describe('the addon', () => {
  it('loads without libcrypt, and knows what is no hash', async () => {
    expect(await native.checkPassword(Buffer.from('x'), '!')).toBe(-22);
    expect(await native.checkPassword(Buffer.from(PASSWORD), PASSWORD_HASH)).toBe(1);
    expect(await native.checkPassword(Buffer.from('x'), PASSWORD_HASH)).toBe(0);
  });
});
