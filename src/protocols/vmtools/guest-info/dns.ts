/** The name servers that the guest asks (spec vmware.md section 6.7, Dns). Pure. */
import { addressBytes, writeAddress } from './address.ts';
import type { XdrWriter } from './xdr.ts';

export interface Dns {
  readonly host: string;
  readonly domain: string;
  readonly servers: readonly Buffer[];
  readonly searchSuffixes: readonly string[];
}

/** resolv.conf(5) as it stands. */
export interface ResolverSource {
  readonly servers: readonly string[];
  /** The last `domain` or `search` line. */
  readonly search: readonly string[];
}

const MAX_SERVERS = 16;
const MAX_SUFFIXES = 10;
/** Longer names break a host's parser; DNS has none longer. */
const MAX_NAME = 255;

/** Where there is no search list, the host name's domain is searched, as the C library does. */
export function reportedDns(hostname: string, { servers, search }: ResolverSource): Dns {
  const dot = hostname.indexOf('.');
  const own = dot < 0 ? [] : [hostname.slice(dot + 1)];
  const suffixes = (search.length > 0 ? search : own).filter(
    (name) => name !== '' && name.length <= MAX_NAME,
  );
  return {
    host: hostname,
    domain: suffixes[0] ?? '',
    servers: servers.flatMap((server) => addressBytes(server) ?? []).slice(0, MAX_SERVERS),
    searchSuffixes: suffixes.slice(0, MAX_SUFFIXES),
  };
}

export function writeDns(xdr: XdrWriter, { host, domain, servers, searchSuffixes }: Dns): void {
  const writeText = (each: XdrWriter, text: string) => void each.string(text);
  xdr
    .optional(host, writeText)
    .optional(domain, writeText)
    .array(servers, writeAddress)
    .array(searchSuffixes, writeText);
}
