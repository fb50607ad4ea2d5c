/** Network facts (spec qemu-ga.md section 5, guest-network-get-interfaces). */
import {
  type InterfaceStatistics,
  NetworkFactsError,
  type NetworkInterface,
} from '../../../guest/network.ts';
import { QapiError } from '../errors.ts';
import type { ReplyValue } from '../json/writer.ts';
import { command } from '../registry.ts';
import type { QgaContext } from './context.ts';

export const networkCommands = [
  command({
    name: 'guest-network-get-interfaces',
    since: '1.1',
    doc: 'All network interfaces with addresses and counters.',
    args: {},
    returns:
      '[{name, hardware-address?, ip-addresses?: [{ip-address, ip-address-type, prefix}], statistics?}]',
    run: (_args, { guest }: QgaContext) => {
      try {
        return interfacesReply(guest.networkInterfaces());
      } catch (error) {
        throw error instanceof NetworkFactsError ? new QapiError(error.message) : error;
      }
    },
  }),
];

/** Pure, for tests. An address that was added under a label (`eth0:1`) makes an interface of that name, as getifaddrs(3) shows it. */
export function interfacesReply(interfaces: readonly NetworkInterface[]): ReplyValue[] {
  const entries = new Map<string, { of: NetworkInterface; addresses: ReplyValue[] }>();
  for (const each of interfaces) entries.set(each.name, { of: each, addresses: [] });
  for (const each of interfaces) {
    for (const { label, address, family, prefixLength } of each.addresses) {
      const entry = entries.get(label) ?? { of: each, addresses: [] };
      entries.set(label, entry);
      entry.addresses.push({ 'ip-address': address, 'ip-address-type': family, prefix: prefixLength });
    }
  }
  return [...entries].map(([name, { of, addresses }]) => {
    // what has no address has no statistics either: clients of qemu-ga know it so
    const hasAddress = addresses.length > 0;
    return {
      name,
      'hardware-address': of.hardwareAddress ?? undefined,
      'ip-addresses': hasAddress ? addresses : undefined,
      statistics: hasAddress && of.statistics !== null ? statisticsReply(of.statistics) : undefined,
    };
  });
}

function statisticsReply(counters: InterfaceStatistics): ReplyValue {
  return {
    'rx-bytes': counters.rxBytes,
    'rx-packets': counters.rxPackets,
    'rx-errs': counters.rxErrors,
    'rx-dropped': counters.rxDropped,
    'tx-bytes': counters.txBytes,
    'tx-packets': counters.txPackets,
    'tx-errs': counters.txErrors,
    'tx-dropped': counters.txDropped,
  };
}
