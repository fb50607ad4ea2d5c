/** Paths of nodes (spec/xenstore.md section 1). Everything but {@link absolutePath} works on absolute, valid ones. */

/** Below a domain's home, or of a path elsewhere: the protocol's 3072 bytes for an absolute one are never reached. */
const MAX_RELATIVE_BYTES = 2048;
const HOME = /^\/local\/domain\/[0-9]{1,5}\//;

export function homeOf(domain: number): string {
  return `/local/domain/${domain}`;
}

/** A relative path begins at the domain's home. null: not a path. */
export function absolutePath(domain: number, path: string): string | null {
  if (path.startsWith('@')) return null;
  const absolute = path.startsWith('/') ? path : `${homeOf(domain)}/${path}`;
  const home = HOME.exec(absolute)?.[0] ?? '';
  const isTooLong = absolute.length - home.length > MAX_RELATIVE_BYTES;
  if (isTooLong || !/^[A-Za-z0-9\-/_@]+$/.test(absolute) || absolute.includes('//')) return null;
  return absolute !== '/' && absolute.endsWith('/') ? null : absolute;
}

/** undefined: the root has none. */
export function parentOf(path: string): string | undefined {
  if (path === '/') return undefined;
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}

export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function childOf(path: string, name: string): string {
  return path === '/' ? `/${name}` : `${path}/${name}`;
}

/** Whether `path` is `ancestor` or below it. */
export function isWithin(path: string, ancestor: string): boolean {
  return path === ancestor || path.startsWith(ancestor === '/' ? '/' : `${ancestor}/`);
}
