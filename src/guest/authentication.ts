/**
 * Who a host claims to be, against the guest's own accounts: passwd, shadow, group and shells, as PAM's pam_unix and pam_shells
 * judge them (spec vmware.md section 7.3). PAM itself is not asked, nor is what else nsswitch.conf(5) names.
 *
 * A refusal tells nothing: unknown, locked and forbidden accounts cost the same work as a wrong password, and look the same.
 */
import { join } from 'node:path';
import type { Log } from '../log.ts';
import type { NativeAddon } from '../native/addon.ts';
import type { FreezeGate } from './freeze-gate.ts';
import { type Group, groupsOf } from './linux/group.ts';
import { findLoginEntry, type LoginEntry } from './linux/passwd.ts';
import { readRegularFile } from './linux/regular-file.ts';
import { accountProblem, anyHash, findShadowEntry, isLoginShell, type ShadowEntry } from './linux/shadow.ts';
import { isSystemCallError } from './linux/system-call-error.ts';

/** A user who has proved to be one. */
export interface Login {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly home: string;
  readonly shell: string;
}

export interface LoginPolicy {
  /** Names; `*`: all. */
  readonly users: readonly string[];
  readonly groups: readonly string[];
  /** Whose empty password is one; they need not be in the other lists. */
  readonly emptyPassword: readonly string[];
}

export interface Authentication {
  /**
   * Takes 0.1 s and more, and after failures some seconds. Not while frozen: it would wait for the thaw. The password is left as it is: its owner wipes it.
   * @returns null for any refusal; why is in the log, without the password
   */
  authenticate(name: string, password: Uint8Array): Promise<Login | null>;
}

export interface AuthenticationOptions {
  readonly native: Pick<NativeAddon, 'checkPassword'>;
  readonly log: Log;
  readonly gate: FreezeGate;
  readonly policy: LoginPolicy;
  /** Prefix of /etc. */
  readonly root?: string;
  readonly nowMs?: () => number;
  /** Waits before a refusal is told. */
  readonly wait?: (timeMs: number) => Promise<void>;
}

const MAX_BYTES = 16 * 1024 * 1024;
const ENOENT = 2;
const ENOSYS = 38;
const DAY_MS = 86_400_000;
/** libxcrypt's default, where no account has a password: of nothing, which nobody hears of. */
const DUMMY_HASH = '$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7';

/** The wait doubles with each failure of a name in a row. A host's patience lasts some seconds. */
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 2000;
/** After which a failure is forgotten. */
const FORGET_MS = 15 * 60_000;
const MAX_REMEMBERED = 256;

export function createAuthentication(options: AuthenticationOptions): Authentication {
  const { native, log, gate, policy, root = '/', nowMs = Date.now } = options;
  const wait = options.wait ?? ((timeMs) => new Promise((resolve) => void setTimeout(resolve, timeMs)));
  const failures = createFailures(nowMs);

  const read = (name: string) => readRegularFile(join(root, 'etc', name), { maxBytes: MAX_BYTES });
  const readIfThere = (name: string) =>
    read(name).catch((error: unknown) => {
      if (isSystemCallError(error, ENOENT)) return null;
      throw error;
    });

  /** The login, or why not. */
  async function judge(name: string, password: Uint8Array): Promise<Login | string> {
    const [passwd, shadow, group, shells] = await gate.pass(() =>
      Promise.all([read('passwd'), readIfThere('shadow'), readIfThere('group'), readIfThere('shells')]),
    );
    const shadowFile = shadow ?? Buffer.alloc(0);
    try {
      const entry = findLoginEntry(passwd, name);
      const secret = entry === null ? null : secretOf(entry, shadowFile);
      const groups = entry === null ? [] : groupsOf(group ?? Buffer.alloc(0), entry);
      const problem =
        entry === null
          ? 'there is no such account'
          : secret === null
            ? 'the account has no entry in the shadow file'
            : (accountProblem(secret, Math.floor(nowMs() / DAY_MS)) ??
              (isAllowed(name, groups) ? null : 'the configuration does not allow this user') ??
              (isLoginShell(shells, entry.shell) ? null : 'the shell is not in /etc/shells'));
      const passwordProblem = await check(name, password, secret?.hash ?? '!', shadowFile);
      if (entry === null || problem !== null || passwordProblem !== null)
        return problem ?? passwordProblem ?? '';
      const { uid, gid, home, shell } = entry;
      return {
        name,
        uid,
        gid,
        home,
        shell: shell || '/bin/sh',
        groups: [...new Set(groups.map((each) => each.gid))],
      };
    } finally {
      shadowFile.fill(0);
    }
  }

  function isAllowed(name: string, groups: readonly Group[]): boolean {
    const { users, groups: allowed, emptyPassword } = policy;
    return (
      users.includes('*') ||
      users.includes(name) ||
      emptyPassword.includes(name) ||
      groups.some((group) => group.name !== '' && allowed.includes(group.name))
    );
  }

  /** Does the same work whatever comes of it. @returns null if the password is right */
  async function check(
    name: string,
    password: Uint8Array,
    hash: string,
    shadow: Uint8Array,
  ): Promise<string | null> {
    const isEmpty = hash === '' && password.length === 0;
    if (isEmpty && policy.emptyPassword.includes(name)) return null;
    const usable = /^[!*]/.test(hash) || hash === '' ? null : hash;
    const result = await native.checkPassword(password, usable ?? anyHash(shadow) ?? DUMMY_HASH);
    if (result === -ENOSYS) return 'libcrypt is not installed';
    if (isEmpty) return 'the password is empty, which the configuration does not allow this user';
    if (usable === null) return 'the password is wrong';
    if (result < 0) return `the hash of the password cannot be checked (errno ${-result})`;
    return result === 1 ? null : 'the password is wrong';
  }

  return {
    async authenticate(name, password) {
      let outcome: Login | string;
      try {
        outcome = await judge(name, password);
      } catch (error) {
        outcome = error instanceof Error ? error.message : String(error);
      }
      if (typeof outcome !== 'string') {
        failures.forget(name);
        return outcome;
      }
      log.warning(`login of ${shown(name)} refused: ${outcome}`);
      await wait(failures.delayMs(name));
      return null;
    },
  };
}

/** Its entry in the shadow file; for a hash in the passwd file, one without ageing; null if there is none. */
function secretOf(entry: LoginEntry, shadow: Uint8Array): ShadowEntry | null {
  const { name, password } = entry;
  if (password === 'x' || password.startsWith('##')) return findShadowEntry(shadow, name);
  return { name, hash: password, changedDay: null, maxDays: null, expiresOn: null };
}

/** It comes from outside. */
function shown(name: string): string {
  return JSON.stringify(name.slice(0, 64));
}

/** How often each name was refused lately. */
function createFailures(nowMs: () => number): {
  /** Counts a failure. @returns how long its answer should take */
  delayMs(name: string): number;
  forget(name: string): void;
} {
  const known = new Map<string, { count: number; atMs: number }>();
  return {
    delayMs(name) {
      const now = nowMs();
      const last = known.get(name);
      const isRecent = last !== undefined && now >= last.atMs && now - last.atMs < FORGET_MS;
      const count = (isRecent ? last.count : 0) + 1;
      // the one that failed last is the last in the map
      known.delete(name);
      known.set(name, { count, atMs: now });
      for (const oldest of known.keys()) {
        if (known.size <= MAX_REMEMBERED) break;
        known.delete(oldest);
      }
      return Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (count - 1));
    },
    forget: (name) => void known.delete(name),
  };
}
