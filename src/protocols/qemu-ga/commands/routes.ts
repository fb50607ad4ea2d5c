/** Routes (spec qemu-ga.md section 5, guest-network-get-route). */
import type { Ipv4Route, Ipv6Route } from '../../../guest/linux/route-tables.ts';
import type { ReplyValue } from '../json/writer.ts';
import { command } from '../registry.ts';
import type { QgaContext } from './context.ts';
import { readFact } from './system-calls.ts';

export const routeCommands = [
  command({
    name: 'guest-network-get-route',
    since: '9.1',
    doc: 'The routing tables, IPv4 first. Numbers are unsigned; a family that the kernel does not have is left out.',
    args: {},
    returns:
      '[{iface, destination, metric, version, flags, refcnt, use, gateway?, mask?, mtu?, window?, irtt?, source?, nexthop?, desprefixlen?: str, srcprefixlen?: str}]',
    run: async (_args, { guest, native }: QgaContext) => {
      const { ipv4, ipv6 } = await readFact(() => guest.routingTables(), native);
      return [...ipv4.map(ipv4Reply), ...ipv6.map(ipv6Reply)];
    },
  }),
];

function ipv4Reply(route: Ipv4Route): ReplyValue {
  return {
    iface: route.interface,
    destination: route.destination,
    metric: route.metric,
    gateway: route.gateway,
    mask: route.mask,
    irtt: route.irtt,
    flags: route.flags,
    refcnt: route.references,
    use: route.uses,
    window: route.windowBytes,
    mtu: route.mtuBytes,
    version: 4,
  };
}

function ipv6Reply(route: Ipv6Route): ReplyValue {
  return {
    iface: route.interface,
    destination: route.destination,
    metric: route.metric,
    flags: route.flags,
    refcnt: route.references,
    use: route.uses,
    version: 6,
    source: route.source,
    nexthop: route.nextHop,
    desprefixlen: String(route.prefixLength),
    srcprefixlen: String(route.sourcePrefixLength),
  };
}
