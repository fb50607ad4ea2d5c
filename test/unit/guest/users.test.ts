import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseLoginRecords } from '../../../src/guest/linux/utmp.ts';
import { loggedInUsers } from '../../../src/guest/users.ts';
import { type FakeRoot, makeFakeRoot } from '../../support/fake-root.ts';
import { utmpFile } from '../../support/utmp.ts';

const session = (user: string, seconds: number, microseconds = 0) => ({
  type: 7,
  user,
  seconds,
  microseconds,
});

let root: FakeRoot;
beforeEach(() => {
  root = makeFakeRoot();
});
afterEach(() => root[Symbol.dispose]());

describe('utmp records', () => {
  it('are those of logged-in users only', () => {
    const bytes = utmpFile([
      { type: 2, user: 'reboot', seconds: 1, microseconds: 0 },
      session('joe', 1_700_000_000, 250_000),
      { type: 8, user: 'gone', seconds: 2, microseconds: 0 },
      session('', 5),
      session('a-name-that-fills-all-32-bytes-!', 4_000_000_000),
    ]);
    expect(parseLoginRecords(bytes)).toEqual([
      { user: 'joe', loginTimeSeconds: 1_700_000_000.25 },
      { user: '', loginTimeSeconds: 5 },
      { user: 'a-name-that-fills-all-32-bytes-!', loginTimeSeconds: 4_000_000_000 },
    ]);
  });

  it('an incomplete one at the end is left out', () => {
    const bytes = utmpFile([session('joe', 1), session('ann', 2)]);
    expect(parseLoginRecords(bytes.subarray(0, -1)).map(({ user }) => user)).toEqual(['joe']);
    expect(parseLoginRecords(Buffer.alloc(0))).toEqual([]);
  });
});

describe('logged-in users', () => {
  it('each once, since the earliest login, in the order of the file', async () => {
    const records = [session('joe', 50), session('ann', 20), session('joe', 30, 500_000), session('joe', 40)];
    root.add({ 'var/run/utmp': utmpFile(records) });
    await expect(loggedInUsers(root.path)).resolves.toEqual([
      { name: 'joe', loginTimeSeconds: 30.5 },
      { name: 'ann', loginTimeSeconds: 20 },
    ]);
  });

  it('nobody where there is no utmp', async () => {
    await expect(loggedInUsers(root.path)).resolves.toEqual([]);
  });

  it('a file that is far too long, or none, is an error', async () => {
    root.add({ 'var/run/utmp': Buffer.alloc(4 * 1024 * 1024 + 1) });
    await expect(loggedInUsers(root.path)).rejects.toMatchObject({ errno: 27 });
    const other = makeFakeRoot();
    mkdirSync(join(other.path, 'var/run/utmp'), { recursive: true });
    await expect(loggedInUsers(other.path)).rejects.toMatchObject({ errno: 21 });
    other[Symbol.dispose]();
  });
});
