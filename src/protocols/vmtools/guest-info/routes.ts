/** The guest's routes (spec vmware.md section 6.7, Route). Pure. */
import { addressBytes, writeAddress } from './address.ts';
import type { XdrWriter } from './xdr.ts';

export interface ReportedRoute {
  readonly destination: Buffer;
  readonly prefixLength: number;
  readonly nextHop: Buffer | null;
  /** Position in the list of NICs. */
  readonly nic: number;
  readonly metric: number;
}

/** Routes as /proc/net has them. */
export interface RouteSource {
  readonly ipv4: readonly {
    readonly interface: string;
    readonly destination: string;
    readonly gateway: string;
    readonly mask: string;
    readonly flags: number;
    readonly metric: number;
  }[];
  readonly ipv6: readonly {
    readonly interface: string;
    readonly destination: string;
    readonly prefixLength: number;
    readonly nextHop: string;
    readonly flags: number;
    readonly metric: number;
  }[];
}

export interface RouteLimits {
  readonly ipv4: number;
  readonly ipv6: number;
}

/** Of both families. */
export const MAX_ROUTES = 100;
const RTF_UP = 0x1;
const RTF_GATEWAY = 0x2;
const TYPE = 0;

/** Of the NICs' interfaces, IPv4 first. @param names of the NICs' interfaces, in their order */
export function reportedRoutes(
  { ipv4, ipv6 }: RouteSource,
  names: readonly string[],
  limits: RouteLimits,
): ReportedRoute[] {
  const nicOf = new Map(names.map((name, index) => [name, index]));
  const routes4 = ipv4.flatMap((route) =>
    reported(nicOf.get(route.interface), route, prefixOf(route.mask), route.gateway),
  );
  const routes6 = ipv6.flatMap((route) =>
    reported(nicOf.get(route.interface), route, route.prefixLength, route.nextHop),
  );
  return [...routes4.slice(0, limits.ipv4), ...routes6.slice(0, limits.ipv6)].slice(0, MAX_ROUTES);
}

export function writeRoute(xdr: XdrWriter, route: ReportedRoute): void {
  writeAddress(xdr, route.destination);
  xdr
    .u32(route.prefixLength)
    .optional(route.nextHop, writeAddress)
    .u32(route.nic)
    .u32(TYPE)
    .u32(route.metric);
}

function reported(
  nic: number | undefined,
  { destination, flags, metric }: { destination: string; flags: number; metric: number },
  prefixLength: number,
  gateway: string,
): ReportedRoute[] {
  const bytes = addressBytes(destination);
  if (nic === undefined || bytes === null || (flags & RTF_UP) === 0) return [];
  const nextHop = (flags & RTF_GATEWAY) === 0 ? null : addressBytes(gateway);
  return [{ destination: bytes, prefixLength, nextHop, nic, metric }];
}

/** `255.255.255.0` → 24. */
function prefixOf(mask: string): number {
  const bits = mask.split('.').map((byte) => Number(byte).toString(2).padStart(8, '0'));
  return bits.join('').replace(/0+$/, '').length;
}
