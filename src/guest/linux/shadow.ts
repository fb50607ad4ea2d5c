/** /etc/shadow and /etc/shells: shadow(5), shells(5), and what pam_unix and pam_shells make of them. Pure. */

export interface ShadowEntry {
  readonly name: string;
  /** As crypt(3) has it; empty: no password is needed; what begins with `!` or `*`: none fits. */
  readonly hash: string;
  /** Days since 1970; null: not known, no ageing. 0: the password must be changed at the next login. */
  readonly changedDay: number | null;
  /** After which a password must be changed. */
  readonly maxDays: number | null;
  /** Day from which on the account is closed. */
  readonly expiresOn: number | null;
}

/** The first entry of that name, or null. */
export function findShadowEntry(shadow: Uint8Array, name: string): ShadowEntry | null {
  for (const line of Buffer.from(shadow).toString().split('\n')) {
    const [entryName, hash, changed, , max, , , expires] = line.split(':');
    if (name === '' || entryName !== name || hash === undefined) continue;
    return { name, hash, changedDay: days(changed), maxDays: days(max), expiresOn: days(expires) };
  }
  return null;
}

/** An empty field and a negative number mean the same. */
function days(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : null;
}

/** A hash of the file that a password can have, of the first account that has one; or null. */
export function anyHash(shadow: Uint8Array): string | null {
  for (const line of Buffer.from(shadow).toString().split('\n')) {
    const hash = (line.split(':')[1] ?? '').replace(/^!+/, '');
    if (hash.startsWith('$')) return hash;
  }
  return null;
}

/** Why the account may not log in today whatever its password, or null. */
export function accountProblem(entry: ShadowEntry, today: number): string | null {
  const { hash, changedDay, maxDays, expiresOn } = entry;
  if (/^[!*]/.test(hash)) return 'the account is locked';
  if (expiresOn !== null && today >= expiresOn) return 'the account has expired';
  if (changedDay === 0) return 'the password must be changed';
  // a day in the future is a clock that is wrong
  if (changedDay !== null && maxDays !== null && today >= changedDay && today - changedDay > maxDays)
    return 'the password has expired';
  return null;
}

/** What getusershell(3) takes for the file when there is none. */
const DEFAULT_SHELLS = ['/bin/sh', '/bin/csh'];

/** @param shells /etc/shells, null if there is none */
export function isLoginShell(shells: Uint8Array | null, shell: string): boolean {
  const wanted = shell === '' ? '/bin/sh' : shell;
  if (shells === null) return DEFAULT_SHELLS.includes(wanted);
  return Buffer.from(shells)
    .toString()
    .split('\n')
    .some((line) => line.startsWith('/') && line.replace(/[\s#].*$/, '') === wanted);
}
