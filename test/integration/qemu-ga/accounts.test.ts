/** guest-ssh-* on homes in a test root, and guest-set-user-password with a chpasswd that only listens (spec qemu-ga.md section 5). */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createGuest } from '../../../src/guest/guest.ts';
import type { ProgramResult } from '../../../src/guest/program.ts';
import { native } from '../../../src/native/index.ts';
import { type FakeRoot, makeFakeRoot } from '../../support/fake-root.ts';
import { LineClient } from '../../support/line-client.ts';
import { type OurAgent, startOurAgent } from '../../support/qga-service.ts';
import { recordingLog } from '../../support/quiet-log.ts';

let root: FakeRoot;
let agent: OurAgent;
let client: LineClient;
let passwords: { user: string; password: string; crypted: boolean }[];
let result: ProgramResult;
let log: ReturnType<typeof recordingLog>;

beforeEach(async () => {
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  root = makeFakeRoot({
    'etc/passwd': `joe:x:${uid}:${gid}::/home/joe:/bin/sh\noutside:x:${uid}:${gid}::/out:/bin/sh\n`,
    'home/joe/': '',
  });
  symlinkSync('/', join(root.path, 'out'));
  log = recordingLog();
  const guest = createGuest({
    native,
    log,
    noActions: true,
    testRoot: root.path,
    osReleaseFile: null,
    tzVariable: undefined,
    root: root.path,
  });
  passwords = [];
  result = { kind: 'exited', program: '/usr/sbin/chpasswd', code: 0, output: Buffer.alloc(0) };
  const setPassword = async (user: string, password: Uint8Array, crypted: boolean) => {
    passwords.push({ user, password: Buffer.from(password).toString('latin1'), crypted });
    return result;
  };
  agent = await startOurAgent({ log, guest: { ...guest, actions: { ...guest.actions, setPassword } } });
  client = new LineClient(agent.socketPath);
});
afterEach(async () => {
  await client.close();
  await agent.stop();
  root[Symbol.dispose]();
});

const file = () => join(root.path, 'home/joe/.ssh/authorized_keys');
const content = () => readFileSync(file(), 'utf8');
const getKeys = (username = 'joe') => client.result('guest-ssh-get-authorized-keys', { username });
const add = (keys: string[], reset?: boolean, username = 'joe') =>
  client.result('guest-ssh-add-authorized-keys', { username, keys, ...(reset !== undefined && { reset }) });
const remove = (keys: string[], username = 'joe') =>
  client.result('guest-ssh-remove-authorized-keys', { username, keys });

describe('ssh keys', () => {
  it('live as the host wants', async () => {
    expect(await remove(['ssh-ed25519 A'])).toEqual({});
    expect(existsSync(file())).toBe(false);
    expect(await add(['ssh-ed25519 A a@b', 'ssh-ed25519 B'])).toEqual({});
    expect(await add(['ssh-ed25519 B', 'ssh-ed25519 C'], false)).toEqual({});
    expect(await getKeys()).toEqual({ keys: ['ssh-ed25519 C', 'ssh-ed25519 B', 'ssh-ed25519 A a@b'] });
    expect((statSync(file()).mode & 0o7777).toString(8)).toBe('600');
    expect((statSync(join(file(), '..')).mode & 0o7777).toString(8)).toBe('700');
    expect(await remove(['ssh-ed25519 A', 'ssh-ed25519 B'])).toEqual({});
    expect(content()).toBe('ssh-ed25519 A a@b\nssh-ed25519 C\n');
    expect(await add(['ssh-ed25519 D', ''], true)).toEqual({});
    expect(content()).toBe('ssh-ed25519 D\n');
  });

  it('comments and blank lines stay in the file, and are not told', async () => {
    mkdirSync(join(file(), '..'), { mode: 0o700 });
    writeFileSync(file(), '# work\n\nssh-rsa A\n  # indented\n\tssh-rsa B \r\n');
    await add(['ssh-rsa C']);
    expect(await getKeys()).toEqual({ keys: ['ssh-rsa C', 'ssh-rsa B', 'ssh-rsa A'] });
    await remove(['ssh-rsa C']);
    expect(content()).toBe('# work\n\nssh-rsa A\n  # indented\n\tssh-rsa B \r\n');
  });

  it.each(['#ssh-rsa A', 'ssh-rsa A\nssh-rsa B', '\n', 'ssh-rsa \0'])(
    '%j is no key: nothing is done',
    async (key) => {
      const text = `invalid OpenSSH public key: '${key}'`;
      await add(['ssh-rsa OLD']);
      await expect(add(['ssh-rsa X', key], true)).rejects.toThrow(text);
      await expect(remove(['ssh-rsa OLD', key])).rejects.toThrow(text);
      // the keys are looked at before the user
      await expect(add([key], true, 'nobody-here')).rejects.toThrow(text);
      expect(content()).toBe('ssh-rsa OLD\n');
    },
  );

  it.each([
    '',
    'nobody-here',
    '../joe',
    'joe/..',
    '../../etc',
    '/home/joe',
    'joe:x',
    'joe\nroot',
    'joe\0',
    'JOE',
  ])('user %j does not exist', async (username) => {
    const error = {
      class: 'GenericError',
      desc: `failed to lookup user '${username}': no such user in /etc/passwd`,
    };
    const args = { username, keys: ['ssh-rsa A'] };
    expect(await client.command('guest-ssh-get-authorized-keys', { username })).toEqual({ error });
    expect(await client.command('guest-ssh-add-authorized-keys', args)).toEqual({ error });
    expect(await client.command('guest-ssh-remove-authorized-keys', args)).toEqual({ error });
  });

  it('no file: an error, in the words of the reference', async () => {
    await expect(getKeys()).rejects.toThrow(
      `failed to read '${file()}': Failed to open file \u201c${file()}\u201d: No such file or directory`,
    );
  });

  it('a file that is a trap: an error, and it stays', async () => {
    mkdirSync(file(), { recursive: true });
    const text = `failed to read '${file()}': Failed to open file \u201c${file()}\u201d: Is a directory`;
    await expect(getKeys()).rejects.toThrow(text);
    await expect(add(['ssh-rsa A'])).rejects.toThrow(text);
    await expect(remove(['ssh-rsa A'])).rejects.toThrow(text);
    await expect(add(['ssh-rsa A'], true)).rejects.toThrow(`failed to write to '${file()}': Is a directory`);
    expect(statSync(file()).isDirectory()).toBe(true);
    rmSync(file(), { recursive: true });
  });

  it('a home outside the test root is refused in such a run', async () => {
    await expect(add(['ssh-rsa A'], true, 'outside')).rejects.toThrow(
      /^refused: this run may not change ssh keys/,
    );
  });

  it('no /etc/passwd', async () => {
    rmSync(join(root.path, 'etc/passwd'));
    await expect(getKeys()).rejects.toThrow("failed to lookup user 'joe': No such file or directory");
  });
});

describe('passwords', () => {
  const base64 = (bytes: string) => Buffer.from(bytes, 'latin1').toString('base64');
  const set = (user: string, password: string, crypted = false) =>
    client.result('guest-set-user-password', { username: user, password, crypted });

  it.each(['secret', 'p:w', '', '\xff\xfe\r\t \x01', 'x'.repeat(100_000)])(
    '%j goes to chpasswd as it is',
    async (password) => {
      expect(await set('joe', base64(password))).toEqual({});
      expect(await set('joe', base64(password), true)).toEqual({});
      expect(passwords).toEqual([
        { user: 'joe', password, crypted: false },
        { user: 'joe', password, crypted: true },
      ]);
    },
  );

  it('may come as wrapped base64', async () => {
    await set('joe', base64('y'.repeat(100)).replaceAll(/.{76}/g, '$&\n'));
    expect(passwords[0]?.password).toBe('y'.repeat(100));
  });

  it.each<[string, string, string]>([
    ['joe', base64('a\nroot:b'), 'forbidden characters in raw password'],
    ['joe', base64('\n'), 'forbidden characters in raw password'],
    ['joe', base64('a\0b'), 'forbidden characters in raw password'],
    ['joe:x', base64('a'), 'forbidden characters in username'],
    ['joe\nroot', base64('a'), 'forbidden characters in username'],
    ['joe\0', base64('a'), 'forbidden characters in username'],
    ['joe', 'QQ-_', 'Base64 data contains invalid characters'],
    // the password is looked at first
    ['joe:x', base64('\n'), 'forbidden characters in raw password'],
  ])('of %j with %j: %s', async (user, password, text) => {
    expect(
      await client.command('guest-set-user-password', { username: user, password, crypted: false }),
    ).toEqual({
      error: { class: 'GenericError', desc: text },
    });
    expect(passwords).toEqual([]);
  });

  it('need to be called plain or crypted', async () => {
    await expect(client.result('guest-set-user-password', { username: 'joe', password: '' })).rejects.toThrow(
      "Parameter 'crypted' is missing",
    );
  });

  it.each<[ProgramResult, string]>([
    [
      {
        kind: 'exited',
        program: '',
        code: 1,
        output: Buffer.from("chpasswd: line 1: user 'no' does not exist\n"),
      },
      "child process has failed to set user password: chpasswd: line 1: user 'no' does not exist",
    ],
    [
      { kind: 'exited', program: '', code: 2, output: Buffer.alloc(0) },
      'child process has failed to set user password: exit status 2',
    ],
    [
      { kind: 'signaled', program: '', signal: 9, output: Buffer.alloc(0) },
      'child process has terminated abnormally',
    ],
    [
      { kind: 'not-started', program: '/usr/sbin/chpasswd', errno: 2 },
      "child process has failed to set user password: failed to exec '/usr/sbin/chpasswd': No such file or directory",
    ],
  ])('%o is told', async (outcome, text) => {
    result = outcome;
    await expect(set('no', base64('x'))).rejects.toThrow(text);
  });

  it('never get into the log', async () => {
    await set('joe', base64('TopSecret'));
    await expect(set('joe', base64('TopSecret\n'))).rejects.toThrow();
    expect(log.lines.join('\n')).not.toMatch(/TopSecret|VG9wU2VjcmV0/);
  });

  it('are refused where the run takes no actions', async () => {
    const plain = await startOurAgent();
    const other = new LineClient(plain.socketPath);
    await expect(
      other.result('guest-set-user-password', { username: 'joe', password: '', crypted: false }),
    ).rejects.toThrow('refused: this run may not change the password of "joe"');
    await other.close();
    await plain.stop();
  });
});
