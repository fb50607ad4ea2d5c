/** Users, passwords and ssh keys (spec qemu-ga.md section 5, guest-get-users and following). */
import type { Account } from '../../../guest/accounts.ts';
import { SystemCallError } from '../../../guest/linux/system-call-error.ts';
import { decodeBase64 } from '../base64.ts';
import { QapiError } from '../errors.ts';
import { command } from '../registry.ts';
import { base64, bool, list, optional, required, str } from '../schema.ts';
import { performed, requireSuccess } from './actions.ts';
import type { QgaContext } from './context.ts';
import { readFact, reasonText } from './system-calls.ts';

const NEWLINE = 0x0a;
const NUL = 0;

const username = required(str, 'a user of /etc/passwd; other sources of users are not asked');
const keys = required(list(str), 'public keys, a line of authorized_keys each');

export const accountCommands = [
  command({
    name: 'guest-get-users',
    since: '2.10',
    doc: 'Who is logged in, since when (s since 1970): each user once, with the earliest login. Nobody where the distribution has no utmp.',
    args: {},
    returns: '[{user, login-time}]',
    run: async (_args, { guest, native }: QgaContext) => {
      const users = await readFact(() => guest.loggedInUsers(), native);
      return users.map(({ name, loginTimeSeconds }) => ({ user: name, 'login-time': loginTimeSeconds }));
    },
  }),
  command({
    name: 'guest-set-user-password',
    since: '2.3',
    doc: "Sets a user's password by chpasswd.",
    args: {
      username: required(str, 'the user'),
      password: required(base64, 'the password, or what crypt(3) made of it'),
      crypted: required(bool, 'whether it is already encrypted'),
    },
    returns: 'nothing',
    run: async ({ username: user, password, crypted }, { guest, native }: QgaContext) => {
      const bytes = await decodeBase64(password, native);
      try {
        // chpasswd reads C strings: what comes after a NUL would silently not be part of the password
        if (bytes.includes(NEWLINE) || bytes.includes(NUL)) {
          throw new QapiError('forbidden characters in raw password');
        }
        if (/[\n:\0]/.test(user)) throw new QapiError('forbidden characters in username');
        const result = await performed(() => guest.actions.setPassword(user, bytes, crypted));
        requireSuccess(result, 'set user password', native);
      } finally {
        bytes.fill(0);
      }
      return undefined;
    },
  }),
  command({
    name: 'guest-ssh-get-authorized-keys',
    since: '5.2',
    doc: "A user's ssh keys, the last line of the file first, without comments.",
    args: { username },
    returns: '{keys: [str]}',
    run: async (args, context: QgaContext) => {
      const account = await findAccount(args.username, context);
      const found = await reported(() => context.guest.accounts.authorizedKeys(account), context);
      return { keys: found.toReversed() };
    },
  }),
  command({
    name: 'guest-ssh-add-authorized-keys',
    since: '5.2',
    doc: "Appends to a user's ssh keys those that are not there yet.",
    args: { username, keys, reset: optional(bool, 'whether all that is there is dropped first') },
    returns: 'nothing',
    run: async (args, context: QgaContext) => {
      const { accounts } = context.guest;
      checkKeys(args.keys);
      const account = await findAccount(args.username, context);
      await reported(() => accounts.addAuthorizedKeys(account, args.keys, args.reset ?? false), context);
      return undefined;
    },
  }),
  command({
    name: 'guest-ssh-remove-authorized-keys',
    since: '5.2',
    doc: "Removes from a user's ssh keys the lines that equal one of these.",
    args: { username, keys },
    returns: 'nothing',
    run: async (args, context: QgaContext) => {
      const { accounts } = context.guest;
      checkKeys(args.keys);
      const account = await findAccount(args.username, context);
      await reported(() => accounts.removeAuthorizedKeys(account, args.keys), context);
      return undefined;
    },
  }),
];

/** An empty one is allowed, and is nothing. */
function checkKeys(given: readonly string[]): void {
  const bad = given.find((key) => /^#|[\n\0]/.test(key));
  if (bad !== undefined) throw new QapiError(`invalid OpenSSH public key: '${bad}'`);
}

async function findAccount(name: string, { guest, native }: QgaContext): Promise<Account> {
  const failure = (reason: string) => new QapiError(`failed to lookup user '${name}': ${reason}`);
  let account: Account | null;
  try {
    account = await guest.accounts.find(name);
  } catch (error) {
    throw error instanceof SystemCallError ? failure(reasonText(error, native)) : error;
  }
  if (account === null) throw failure('no such user in /etc/passwd');
  return account;
}

/** Works on a key file; what fails is told as qemu-ga tells it, with the words of its library for reading. */
async function reported<T>(work: () => Promise<T>, { native }: QgaContext): Promise<T> {
  try {
    return await performed(work);
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    const { call, path } = error;
    const reason = reasonText(error, native);
    if (call === 'write') throw new QapiError(`failed to write to '${path}': ${reason}`);
    throw new QapiError(`failed to read '${path}': Failed to open file \u201c${path}\u201d: ${reason}`);
  }
}
