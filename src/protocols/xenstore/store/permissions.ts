/** Who may do what with a node (spec/xenstore.md section 2, "Permissions"). */

export const READ = 1;
export const WRITE = 2;
/** Set permissions. */
export const OWN = 4;

const RIGHTS: Record<string, number> = { n: 0, r: READ, w: WRITE, b: READ | WRITE };

export interface Permission {
  /** `n`, `r`, `w` or `b`. */
  readonly letter: string;
  readonly domain: number;
}

/** Permission strings of a node; null when one is malformed or none is there. */
export function parsePermissions(texts: readonly string[]): Permission[] | null {
  const list = texts.map((text) => /^([nrwb])([0-9]{1,5})$/.exec(text));
  if (list.length === 0 || list.includes(null)) return null;
  return list.map((match) => ({ letter: match?.[1] ?? 'n', domain: Number(match?.[2]) }));
}

export function formatPermission({ letter, domain }: Permission): string {
  return `${letter}${domain}`;
}

/** The first entry names the owner and what every domain that is not listed may. */
export function rightsOf(domain: number, permissions: readonly Permission[]): number {
  const [first] = permissions;
  if (domain === 0 || first?.domain === domain) return READ | WRITE | OWN;
  const own = permissions.slice(1).find((entry) => entry.domain === domain);
  return RIGHTS[(own ?? first)?.letter ?? 'n'] ?? 0;
}
