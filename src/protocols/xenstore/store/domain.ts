/** What a toolstack puts into the store for a new domain, with the permissions that it gives (spec/xenstore.md section 4). */
import { randomUUID } from 'node:crypto';
import type { XenstoreAccess } from '../xenstore.ts';
import { homeOf } from './paths.ts';

/** XAPI (XenServer, XCP-ng), or libxl. */
export type Layout = 'xapi' | 'xl';

export interface DomainOptions {
  readonly layout?: Layout;
  readonly uuid?: string;
  readonly name?: string;
  /** VM.add_to_xenstore_data: values by path below the home. */
  readonly xsdata?: Readonly<Record<string, string>>;
}

/** Below the home, owned by the guest. */
const GUEST_FOLDERS: Record<Layout, readonly string[]> = {
  xapi: [
    'device',
    'device/vbd',
    'device/vif',
    'feature',
    'error',
    'drivers',
    'control',
    'attr',
    'xenserver/attr',
    'data',
    'messages',
    'vm-data',
    'hvmloader',
    'rrd',
  ],
  xl: [
    'control/shutdown',
    'control/feature-poweroff',
    'control/feature-reboot',
    'control/feature-suspend',
    'control/sysrq',
    'device/suspend/event-channel',
    'data',
    'drivers',
    'feature',
    'attr',
    'error',
  ],
};
/** Readable for the guest. */
const HOST_FOLDERS: Record<Layout, readonly string[]> = {
  xapi: ['cpu', 'memory'],
  xl: ['cpu', 'memory', 'device', 'control'],
};

/** Builds the subtree of a domain that is not introduced yet. Resolves with the VM's UUID. */
export async function buildDomain(
  store: XenstoreAccess,
  id: number,
  options: DomainOptions = {},
): Promise<string> {
  const { layout = 'xapi', uuid = randomUUID(), name = `guest${id}`, xsdata = {} } = options;
  const home = homeOf(id);
  const forGuest = [`n${id}`];
  const forHost = ['n0', `r${id}`];
  const folder = async (path: string, permissions: string[]) => {
    await store.write(path, '');
    await store.setPermissions(path, permissions);
  };

  await store.remove(home);
  await folder(home, forHost);
  await folder(`/vm/${uuid}`, forHost);
  await folder(`/libxl/${id}`, ['n0']);
  await store.write(`/vm/${uuid}/uuid`, uuid);
  await store.write(`/vm/${uuid}/name`, name);
  await store.write(`${home}/vm`, `/vm/${uuid}`);
  await store.write(`${home}/name`, name);
  for (const each of HOST_FOLDERS[layout]) await folder(`${home}/${each}`, forHost);
  for (const each of GUEST_FOLDERS[layout]) await folder(`${home}/${each}`, forGuest);
  if (layout === 'xapi') {
    await store.write(`${home}/unique-domain-id`, randomUUID());
    await store.write(`${home}/control/has-vendor-device`, '0');
  }
  for (const each of ['multiprocessor-suspend', 'xs_reset_watches'])
    await store.write(`${home}/control/platform-feature-${each}`, '1');
  for (const [path, value] of Object.entries(xsdata)) await store.write(`${home}/${path}`, value);
  await store.write(`${home}/domid`, String(id));
  await store.write(`${home}/store/port`, '1');
  await store.write(`${home}/store/ring-ref`, '1');
  return uuid;
}

/** What is left of a domain that was destroyed. */
export async function removeDomain(store: XenstoreAccess, id: number): Promise<void> {
  await store.remove(homeOf(id));
  await store.remove(`/libxl/${id}`);
}
