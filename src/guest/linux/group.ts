/** /etc/group: group(5). Pure. */

export interface Group {
  readonly name: string;
  readonly gid: number;
}

const MAX_ID = 2 ** 32 - 2;

/** The groups of a user as initgroups(3) finds them: the own one first, then those that name the user, each once. */
export function groupsOf(group: Uint8Array, user: { name: string; gid: number }): Group[] {
  const found: Group[] = [];
  const others: Group[] = [];
  for (const line of Buffer.from(group).toString().split('\n')) {
    const [name = '', , gidText = '', members = ''] = line.trimStart().split(':');
    if (/^[+\-#]|^$/.test(name) || !/^\d{1,10}$/.test(gidText) || Number(gidText) > MAX_ID) continue;
    const gid = Number(gidText);
    if (gid === user.gid) found.push({ name, gid });
    else if (members.trim().split(',').includes(user.name)) others.push({ name, gid });
  }
  if (found.length === 0) found.push({ name: '', gid: user.gid });
  const known = new Set<number>();
  return [...found, ...others].filter(({ gid, name }) => {
    const isNew = !known.has(gid) || name !== '';
    known.add(gid);
    return isNew;
  });
}
