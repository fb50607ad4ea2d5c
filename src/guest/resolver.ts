/** Which name servers the guest asks: resolv.conf(5). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Resolver {
  /** Addresses in their order, IPv6 ones maybe with a `%zone`. */
  servers: string[];
  /** The last `search` or `domain` line; empty if there is none: then the host name's domain is searched. */
  search: string[];
}

/** Empty if there is no such file. Not to be called while frozen. */
export function resolver(root = '/'): Resolver {
  try {
    return parseResolver(readFileSync(join(root, 'etc/resolv.conf'), 'utf8'));
  } catch {
    return { servers: [], search: [] };
  }
}

export function parseResolver(text: string): Resolver {
  const servers: string[] = [];
  let search: string[] = [];
  for (const line of text.split('\n')) {
    // keywords stand at the very beginning; a comment may follow
    const [keyword = '', ...values] = line
      .replace(/[#;].*$/, '')
      .trimEnd()
      .split(/\s+/);
    const [first] = values;
    if (first === undefined) continue;
    if (keyword === 'nameserver') servers.push(first);
    if (keyword === 'domain') search = [first];
    if (keyword === 'search') search = values;
  }
  return { servers, search };
}
