import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Account, type Accounts, createAccounts } from '../../../src/guest/accounts.ts';
import { createActions } from '../../../src/guest/actions.ts';
import { keysIn, withKeys, withoutKeys } from '../../../src/guest/linux/key-lines.ts';
import { findPasswdEntry } from '../../../src/guest/linux/passwd.ts';
import { native } from '../../../src/native/index.ts';
import { type FakeRoot, makeFakeRoot } from '../../support/fake-root.ts';
import { recordingLog } from '../../support/quiet-log.ts';

describe('/etc/passwd', () => {
  const passwd = Buffer.from(
    `# comment:x:1:1::/home/comment:
root:x:0:0:root:/root:/bin/bash

joe:x:1000:1001:Joe Café,,,:/home/joe:/bin/sh
  spaced:x:5:5::/home/spaced:/bin/sh
joe:x:7:7::/home/second:/bin/sh
+nis:x:1:1::/home/nis:
nohome:x:1:1:::/bin/sh
relative:x:1:1::home:/bin/sh
badid:x:one:1::/home/b:/bin/sh
minus:x:-1:1::/home/b:/bin/sh
huge:x:4294967295:1::/home/b:/bin/sh
largest:x:4294967294:1::/home/largest:/bin/sh
short:x:1
no newline:x:3:3::/home/n`,
  );

  it.each([
    ['root', { uid: 0, gid: 0, home: '/root' }],
    ['joe', { uid: 1000, gid: 1001, home: '/home/joe' }],
    ['spaced', { uid: 5, gid: 5, home: '/home/spaced' }],
    ['largest', { uid: 4294967294, gid: 1, home: '/home/largest' }],
    ['no newline', { uid: 3, gid: 3, home: '/home/n' }],
  ])('%s', (name, entry) => {
    expect(findPasswdEntry(passwd, name)).toEqual({ name, ...entry });
  });

  it.each([
    '',
    '# comment',
    '+nis',
    'nohome',
    'relative',
    'badid',
    'minus',
    'huge',
    'short',
    'Root',
    'root ',
    'root:x',
    '../root',
    '/root',
    'root\0',
    'root\nroot',
    'toString',
    'x'.repeat(100_000),
  ])('%j is no user', (name) => {
    expect(findPasswdEntry(passwd, name)).toBeNull();
  });

  it('survives any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.string(), (bytes, name) => {
        const entry = findPasswdEntry(bytes, name);
        return entry === null || (entry.name === name && entry.home.startsWith('/'));
      }),
    );
  });
});

describe('lines of authorized_keys', () => {
  const file = (text: string) => Buffer.from(text, 'latin1');

  it('are keys unless blank or a comment, and without white space around', () => {
    const text =
      '# c\n\nssh-rsa A one\n \t ssh-rsa B two \r\n  #x\n \nssh-rsa \xc3\xa0\nssh-rsa bad\xff\nlast';
    expect(keysIn(file(text))).toEqual([
      'ssh-rsa A one',
      'ssh-rsa B two',
      'ssh-rsa à',
      'ssh-rsa bad\ufffd',
      'last',
    ]);
  });

  it.each<[string, string[], string]>([
    ['', [], ''],
    ['', ['a', 'b', 'a'], 'a\nb\n'],
    ['a\n', ['a'], 'a\n'],
    ['a', ['b'], 'a\nb\n'],
    ['#x\n\na\n', ['b', '', 'c'], '#x\n\na\nb\nc\n'],
    ['a\xff\n', ['à'], 'a\xff\n\xc3\xa0\n'],
    [' a\n', ['a'], ' a\na\n'],
  ])('%j with %j', (before, keys, after) => {
    expect(withKeys(file(before), keys).toString('latin1')).toBe(after);
  });

  it.each<[string, string[], string]>([
    ['a\nb\na\n', ['a'], 'b\n'],
    ['a\nb', ['b'], 'a'],
    ['a\n\nb\n', [''], 'a\n\nb\n'],
    ['a \n', ['a'], 'a \n'],
    ['\xff\na\xff\nb\n', ['b'], '\xff\na\xff\n'],
    ['a\n', ['a'], ''],
    ['', ['a'], ''],
  ])('%j without %j', (before, keys, after) => {
    expect(withoutKeys(file(before), keys).toString('latin1')).toBe(after);
  });

  it('adding and removing keeps all other lines, whatever they hold', () => {
    const key = fc.string({ minLength: 1 }).filter((text) => !/\n/.test(text));
    fc.assert(
      fc.property(fc.uint8Array(), fc.array(key), (bytes, keys) => {
        const before = Buffer.from(bytes);
        const added = withKeys(before, keys);
        expect(added.subarray(0, before.length)).toEqual(before);
        expect(withKeys(added, keys)).toBe(added);
        const removed = withoutKeys(added, keys).toString('latin1');
        const unwanted = new Set(keys.map((text) => Buffer.from(text).toString('latin1')));
        const others = before
          .toString('latin1')
          .split('\n')
          .filter((line) => line !== '' && !unwanted.has(line));
        expect(removed.split('\n').filter((line) => line !== '')).toEqual(others);
      }),
    );
  });
});

describe('keys of an account', () => {
  const uid = process.getuid?.() ?? 0;
  const gid = process.getgid?.() ?? 0;
  let root: FakeRoot;
  let accounts: Accounts;
  let joe: Account;
  const keyFile = () => join(root.path, 'home/joe/.ssh/authorized_keys');
  const content = () => readFileSync(keyFile(), 'utf8');
  const mode = (path: string) => (statSync(path).mode & 0o7777).toString(8);

  beforeEach(async () => {
    root = makeFakeRoot({ 'etc/passwd': `joe:x:${uid}:${gid}::/home/joe:/bin/sh\n`, 'home/joe/': '' });
    const log = recordingLog();
    const actions = createActions({ native, log, noActions: true, testRoot: root.path, root: root.path });
    accounts = createAccounts({ actions, root: root.path });
    const found = await accounts.find('joe');
    if (found === null) throw new Error('no joe');
    joe = found;
  });
  afterEach(() => root[Symbol.dispose]());

  it('are added, read and removed', async () => {
    await expect(accounts.authorizedKeys(joe)).rejects.toMatchObject({ errno: 2, path: keyFile() });
    await accounts.removeAuthorizedKeys(joe, ['ssh-rsa A']);
    await accounts.addAuthorizedKeys(joe, ['ssh-rsa A', 'ssh-rsa B'], false);
    await accounts.addAuthorizedKeys(joe, ['ssh-rsa B', 'ssh-rsa C'], false);
    await expect(accounts.authorizedKeys(joe)).resolves.toEqual(['ssh-rsa A', 'ssh-rsa B', 'ssh-rsa C']);
    expect([mode(keyFile()), mode(join(keyFile(), '..'))]).toEqual(['600', '700']);
    await accounts.removeAuthorizedKeys(joe, ['ssh-rsa B', 'ssh-rsa Z']);
    expect(content()).toBe('ssh-rsa A\nssh-rsa C\n');
    await accounts.addAuthorizedKeys(joe, ['ssh-rsa D'], true);
    expect(content()).toBe('ssh-rsa D\n');
    await accounts.addAuthorizedKeys(joe, [], true);
    expect(content()).toBe('');
  });

  it('an addition of nothing makes the file, and leaves one that is there alone', async () => {
    await accounts.addAuthorizedKeys(joe, [], false);
    expect(content()).toBe('');
    const { ino } = statSync(keyFile());
    await accounts.addAuthorizedKeys(joe, [''], false);
    await accounts.removeAuthorizedKeys(joe, ['x']);
    expect(statSync(keyFile()).ino).toBe(ino);
  });

  it('garbage in the file stays as it is', async () => {
    mkdirSync(join(keyFile(), '..'));
    const garbage = Buffer.from([0, 1, 0xff, 0x0a, 0x0a, 0x80, 0x0d, 0x0a, 0xc3]);
    writeFileSync(keyFile(), garbage);
    await accounts.addAuthorizedKeys(joe, ['key'], false);
    expect(readFileSync(keyFile())).toEqual(Buffer.concat([garbage, Buffer.from('\nkey\n')]));
    await accounts.removeAuthorizedKeys(joe, ['key']);
    expect(readFileSync(keyFile())).toEqual(Buffer.concat([garbage, Buffer.from('\n')]));
  });

  /** What a user may put in the place of the file, and the error number. */
  const traps: [string, (path: string) => void, number][] = [
    ['a link to a secret', (path) => symlinkSync(join(root.path, 'secret'), path), 40],
    ['a FIFO', (path) => execFileSync('mkfifo', [path]), 22],
    ['a directory', (path) => mkdirSync(path), 21],
    ['a huge file', (path) => writeFileSync(path, Buffer.alloc(1024 * 1024 + 1, 'x')), 27],
    ['a link to a device', (path) => symlinkSync('/dev/zero', path), 40],
  ];
  it.each(traps)('%s is not read, and nothing is changed', async (_name, make, errno) => {
    root.add({ secret: 'root:hash\n', 'home/joe/.ssh/': '' });
    make(keyFile());
    const failure = { name: 'SystemCallError', errno, path: keyFile() };
    await expect(accounts.authorizedKeys(joe)).rejects.toMatchObject(failure);
    await expect(accounts.addAuthorizedKeys(joe, ['k'], false)).rejects.toMatchObject(failure);
    await expect(accounts.removeAuthorizedKeys(joe, ['k'])).rejects.toMatchObject(failure);
    expect(readFileSync(join(root.path, 'secret'), 'utf8')).toBe('root:hash\n');
    expect(execFileSync('ls', ['-A', join(root.path, 'home/joe/.ssh')], { encoding: 'utf8' })).toBe(
      'authorized_keys\n',
    );
  });

  it('a link in the place of .ssh is not followed', async () => {
    root.add({ 'elsewhere/authorized_keys': 'secret\n' });
    symlinkSync(join(root.path, 'elsewhere'), join(root.path, 'home/joe/.ssh'));
    await expect(accounts.authorizedKeys(joe)).rejects.toMatchObject({ name: 'SystemCallError' });
    await expect(accounts.addAuthorizedKeys(joe, ['k'], true)).rejects.toMatchObject({ call: 'write' });
    expect(readFileSync(join(root.path, 'elsewhere/authorized_keys'), 'utf8')).toBe('secret\n');
  });

  it.runIf(uid === 0)("another's file that a hard link leads to is not read", async () => {
    root.add({ secret: 'root:hash\n', 'home/joe/.ssh/': '' });
    linkSync(join(root.path, 'secret'), keyFile());
    const stranger = { ...joe, uid: 4242 };
    await expect(accounts.authorizedKeys(stranger)).rejects.toMatchObject({ errno: 1 });
    await expect(accounts.addAuthorizedKeys(stranger, ['k'], false)).rejects.toMatchObject({ errno: 1 });
    // root's own file in the user's directory is what an administrator may have left there
    rmSync(keyFile());
    writeFileSync(keyFile(), 'ssh-rsa A\n');
    await expect(accounts.authorizedKeys(stranger)).resolves.toEqual(['ssh-rsa A']);
  });

  it('too many are refused', async () => {
    await accounts.addAuthorizedKeys(joe, ['ssh-rsa A'], false);
    const many = ['x'.repeat(1024 * 1024)];
    await expect(accounts.addAuthorizedKeys(joe, many, false)).rejects.toMatchObject({
      call: 'write',
      errno: 27,
    });
    expect(content()).toBe('ssh-rsa A\n');
  });

  it('no home', async () => {
    root.add({ 'etc/passwd': `joe:x:${uid}:${gid}::/nonexistent:\n` });
    const account = await accounts.find('joe');
    if (account === null) throw new Error('no joe');
    await expect(accounts.authorizedKeys(account)).rejects.toMatchObject({ errno: 2 });
    await accounts.removeAuthorizedKeys(account, ['k']);
  });

  it('no /etc/passwd', async () => {
    rmSync(join(root.path, 'etc/passwd'));
    await expect(accounts.find('joe')).rejects.toMatchObject({ name: 'SystemCallError', errno: 2 });
  });
});
