/**
 * Local accounts and the ssh keys that may log in to them (spec qemu-ga.md section 5, guest-ssh-*). Accounts are those of
 * /etc/passwd; what else nsswitch.conf(5) names (LDAP, sssd, systemd-homed) is not asked.
 *
 * A home directory is its user's, while this runs as root: nothing below it is followed where a link leads, and only what
 * is the user's own counts. Else a user could have /etc/shadow read as a key file, and copied into a file of theirs.
 */
import { constants, promises as fs } from 'node:fs';
import { join } from 'node:path';
import type { Actions } from './actions.ts';
import { keysIn, withKeys, withoutKeys } from './linux/key-lines.ts';
import { findPasswdEntry, type PasswdEntry, userNames } from './linux/passwd.ts';
import { readRegularFile } from './linux/regular-file.ts';
import { asSystemCallError, isSystemCallError, SystemCallError } from './linux/system-call-error.ts';

export type Account = PasswdEntry;

export interface Accounts {
  /** The account of that name, or null. @throws {SystemCallError} if /etc/passwd can't be read. */
  find(name: string): Promise<Account | null>;
  /** In the file's order. @throws {SystemCallError} also if there is no file. */
  authorizedKeys(account: Account): Promise<string[]>;
  /**
   * Adds what is missing; makes the file if there is none.
   *
   * @param keys one line each.
   * @param reset first drops what is there.
   * @throws {SystemCallError} whose call is `write` if it was not reading that failed
   * @throws {ActionRefused}
   */
  addAuthorizedKeys(account: Account, keys: readonly string[], reset: boolean): Promise<void>;
  /** Removes the lines that equal one of the keys; no file is fine. @throws as addAuthorizedKeys */
  removeAuthorizedKeys(account: Account, keys: readonly string[]): Promise<void>;
}

const MAX_PASSWD_BYTES = 16 * 1024 * 1024;
/** Some 2000 keys. */
const MAX_KEYS_BYTES = 1024 * 1024;
const EPERM = 1;
const ENOENT = 2;
const EFBIG = 27;

export function createAccounts({
  actions,
  root = '/',
}: {
  actions: Pick<Actions, 'writeAuthorizedKeys'>;
  root?: string;
}): Accounts {
  async function write(account: Account, content: Buffer): Promise<void> {
    const errno =
      content.length > MAX_KEYS_BYTES
        ? -EFBIG
        : await actions.writeAuthorizedKeys(account.home, account, content);
    if (errno < 0) throw new SystemCallError('write', keyFile(account), -errno);
  }

  return {
    async find(name) {
      const passwd = await readRegularFile(join(root, 'etc/passwd'), { maxBytes: MAX_PASSWD_BYTES });
      const entry = findPasswdEntry(passwd, name);
      return entry && { ...entry, home: join(root, entry.home) };
    },
    async authorizedKeys(account) {
      return keysIn(await readKeyFile(account));
    },
    async addAuthorizedKeys(account, keys, reset) {
      // unreadable is not empty: nothing may get lost
      const old = reset ? null : await ifThere(readKeyFile(account));
      const content = withKeys(old ?? Buffer.alloc(0), keys);
      if (content !== old) await write(account, content);
    },
    async removeAuthorizedKeys(account, keys) {
      const old = await ifThere(readKeyFile(account));
      if (old === null) return;
      const content = withoutKeys(old, keys);
      if (!content.equals(old)) await write(account, content);
    },
  };
}

/** Names by uid. @throws {SystemCallError} if /etc/passwd can't be read. */
export async function accountNames(root = '/'): Promise<Map<number, string>> {
  return userNames(await readRegularFile(join(root, 'etc/passwd'), { maxBytes: MAX_PASSWD_BYTES }));
}

const keyFile = (account: Account) => join(account.home, '.ssh/authorized_keys');

async function readKeyFile(account: Account): Promise<Buffer> {
  const shownPath = keyFile(account);
  const directoryFlags = constants.O_RDONLY | constants.O_DIRECTORY;
  try {
    await using home = await fs.open(account.home, directoryFlags);
    await using directory = await fs.open(
      `/proc/self/fd/${home.fd}/.ssh`,
      directoryFlags | constants.O_NOFOLLOW,
    );
    return await readRegularFile(`/proc/self/fd/${directory.fd}/authorized_keys`, {
      maxBytes: MAX_KEYS_BYTES,
      flags: constants.O_NOFOLLOW,
      shownPath,
      // a hard link to another's file has another's owner
      check: ({ uid, nlink }) => (uid === account.uid || (uid === 0 && nlink === 1) ? 0 : EPERM),
    });
  } catch (error) {
    throw asSystemCallError(error, shownPath);
  }
}

async function ifThere(content: Promise<Buffer>): Promise<Buffer | null> {
  try {
    return await content;
  } catch (error) {
    if (isSystemCallError(error, ENOENT)) return null;
    throw error;
  }
}
