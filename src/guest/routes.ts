/** The routing tables of this network namespace, from /proc/net. A family that the kernel does not have is empty. */
import { promises as fs } from 'node:fs';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { type Ipv4Route, type Ipv6Route, parseIpv4Route, parseIpv6Route } from './linux/route-tables.ts';
import { asSystemCallError, isSystemCallError, SystemCallError } from './linux/system-call-error.ts';

export interface RoutingTables {
  ipv4: Ipv4Route[];
  ipv6: Ipv6Route[];
}

/** About 30,000 routes: a router with the whole internet's must not be the end of a small guest's memory. */
const MAX_TABLE_BYTES = 4 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
const ENOENT = 2;
const EFBIG = 27;

/**
 * @param most so many routes of each family are enough: the others are not looked at, and no table is too long
 * @throws {SystemCallError} EFBIG for a table that is too long.
 */
export async function routingTables(root = '/', most = Number.POSITIVE_INFINITY): Promise<RoutingTables> {
  const byteOrder = endianness();
  return {
    ipv4: await readTable(join(root, 'proc/net/route'), (line) => parseIpv4Route(line, byteOrder), most),
    ipv6: await readTable(join(root, 'proc/net/ipv6_route'), parseIpv6Route, most),
  };
}

/** Piece by piece, so that other work gets its turn. */
async function readTable<Route>(
  path: string,
  parse: (line: string) => Route | null,
  most: number,
): Promise<Route[]> {
  const routes: Route[] = [];
  const add = (line: string) => {
    const route = parse(line);
    if (route !== null) routes.push(route);
  };
  try {
    await using file = await fs.open(path);
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let rest = '';
    for (let sizeBytes = 0; ; ) {
      const { bytesRead } = await file.read(chunk, 0, chunk.length);
      if (bytesRead === 0) break;
      sizeBytes += bytesRead;
      if (sizeBytes > MAX_TABLE_BYTES) throw new SystemCallError('read', path, EFBIG);
      const lines = (rest + chunk.toString('latin1', 0, bytesRead)).split('\n');
      rest = lines.pop() ?? '';
      lines.forEach(add);
      if (routes.length >= most) return routes.slice(0, most);
    }
    add(rest);
    return routes.slice(0, most);
  } catch (error) {
    const problem = asSystemCallError(error, path);
    if (isSystemCallError(problem, ENOENT)) return [];
    throw problem;
  }
}
