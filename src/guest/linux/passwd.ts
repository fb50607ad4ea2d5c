/** /etc/passwd: passwd(5), read as glibc's nss_files reads it. Pure. */

export interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
  /** Absolute. */
  home: string;
}

/** No id: chown(2) takes it for "leave as it is". */
const MAX_ID = 2 ** 32 - 2;

/**
 * The first entry of that name, or null. Lines that are no entries are skipped, so are NIS's (`+user`) and those without an
 * absolute home directory. The name is only ever compared.
 */
export function findPasswdEntry(passwd: Uint8Array, name: string): PasswdEntry | null {
  for (const line of Buffer.from(passwd).toString().split('\n')) {
    const [entryName, , uid, gid, , home] = line.trimStart().split(':');
    if (entryName !== name || /^[+\-#]|^$/.test(name)) continue;
    const [uidNumber, gidNumber] = [parseId(uid), parseId(gid)];
    if (uidNumber === null || gidNumber === null || !home?.startsWith('/')) continue;
    return { name, uid: uidNumber, gid: gidNumber, home };
  }
  return null;
}

function parseId(text: string | undefined): number | null {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return null;
  const id = Number(text);
  return id <= MAX_ID ? id : null;
}
