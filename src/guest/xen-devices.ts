/** Which of Xen's devices a network interface is: its driver's entry in sysfs (spec/xenstore.md section 5.4). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The host's number of a virtual interface, from `device/vif/<n>`; null for an interface of another kind. */
export function xenVifNumber(interfaceName: string, root = '/'): number | null {
  let nodeName: string;
  try {
    nodeName = readFileSync(join(root, 'sys/class/net', interfaceName, 'device/nodename'), 'latin1');
  } catch {
    return null;
  }
  const number = /^device\/vif\/(\d{1,9})\s*$/.exec(nodeName)?.[1];
  return number === undefined ? null : Number(number);
}
