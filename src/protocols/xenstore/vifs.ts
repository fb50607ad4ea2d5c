/** Which network interfaces the host knows, and by which numbers (spec/xenstore.md section 5.4). */
import type { NetworkInterface } from '../../guest/network.ts';
import type { Vif } from './keys.ts';
import { childrenIfAllowed, readIfAllowed } from './refusals.ts';
import type { XenstoreAccess } from './xenstore.ts';

/** Pure. @param numberOf the number of a virtual interface, null for another one */
export function virtualInterfaces(
  interfaces: readonly NetworkInterface[],
  numberOf: (name: string) => number | null,
): Vif[] {
  return interfaces.flatMap((each) => {
    const number = numberOf(each.name);
    return number === null ? [] : [vif(number, each)];
  });
}

/** Pure. @param macs hardware address of a function -> its number */
export function virtualFunctions(
  interfaces: readonly NetworkInterface[],
  macs: ReadonlyMap<string, number>,
): Vif[] {
  return interfaces.flatMap((each) => {
    const number = each.hardwareAddress === null ? undefined : macs.get(each.hardwareAddress.toLowerCase());
    return number === undefined ? [] : [vif(number, each)];
  });
}

function vif(number: number, { name, hardwareAddress, addresses }: NetworkInterface): Vif {
  const of = (family: 'ipv4' | 'ipv6') =>
    addresses.filter((each) => each.family === family).map(({ address }) => address);
  return { number, name, mac: hardwareAddress, ipv4: of('ipv4'), ipv6: of('ipv6') };
}

const FUNCTIONS = 'xenserver/device/net-sriov-vf';

/** The hardware addresses of the functions that the host has given this guest, lower case. */
export async function functionMacs(store: XenstoreAccess): Promise<Map<string, number>> {
  const macs = new Map<string, number>();
  for (const name of await childrenIfAllowed(store, FUNCTIONS)) {
    if (!/^\d{1,9}$/.test(name)) continue;
    const mac = await readIfAllowed(store, `${FUNCTIONS}/${name}/mac`);
    if (mac !== null) macs.set(mac.toString().trim().toLowerCase(), Number(name));
  }
  return macs;
}
