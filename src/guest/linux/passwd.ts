/** /etc/passwd: passwd(5), read as glibc's nss_files reads it. Pure. */

export interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
  /** Absolute. */
  home: string;
}

/** With what a login needs to know. */
export interface LoginEntry extends PasswdEntry {
  /** `x`: it is in /etc/shadow. */
  password: string;
  /** Empty: /bin/sh. */
  shell: string;
}

/** No id: chown(2) takes it for "leave as it is". */
const MAX_ID = 2 ** 32 - 2;

/**
 * The first entry of that name, or null. Lines that are no entries are skipped, so are NIS's (`+user`) and those without an
 * absolute home directory. The name is only ever compared.
 */
export function findPasswdEntry(passwd: Uint8Array, name: string): PasswdEntry | null {
  const entry = findLoginEntry(passwd, name);
  return entry && { name: entry.name, uid: entry.uid, gid: entry.gid, home: entry.home };
}

/** The same with all of its fields. */
export function findLoginEntry(passwd: Uint8Array, name: string): LoginEntry | null {
  for (const line of Buffer.from(passwd).toString().split('\n')) {
    const [entryName, password = '', uid, gid, , home, shell = ''] = line.trimStart().split(':');
    if (entryName !== name || /^[+\-#]|^$/.test(name)) continue;
    const [uidNumber, gidNumber] = [parseId(uid), parseId(gid)];
    if (uidNumber === null || gidNumber === null || !home?.startsWith('/')) continue;
    return { name, uid: uidNumber, gid: gidNumber, home, password, shell };
  }
  return null;
}

/** Names by uid; of several accounts with the same, the first. */
export function userNames(passwd: Uint8Array): Map<number, string> {
  const names = new Map<number, string>();
  for (const line of Buffer.from(passwd).toString().split('\n')) {
    const [name = '', , uid] = line.trimStart().split(':');
    const number = parseId(uid);
    if (number !== null && !/^[+\-#]|^$/.test(name) && !names.has(number)) names.set(number, name);
  }
  return names;
}

function parseId(text: string | undefined): number | null {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return null;
  const id = Number(text);
  return id <= MAX_ID ? id : null;
}
