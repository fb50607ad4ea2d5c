/** What stands in the store of the keys that are the agent's, by whomever it was written: an earlier run, or another agent. */
import { OLD_INTERFACE, OWN_LEAVES, OWN_SUBTREES } from './keys.ts';
import { childrenIfAllowed, readIfAllowed } from './refusals.ts';
import type { XenstoreAccess } from './xenstore.ts';

/** Keys and values; an empty folder counts as a key with an empty value. */
export async function readOwnKeys(store: XenstoreAccess): Promise<Map<string, string>> {
  const keys = new Map<string, string>();
  const oldInterfaces = (await childrenIfAllowed(store, 'attr')).filter((name) => OLD_INTERFACE.test(name));
  const subtrees = [...OWN_SUBTREES, ...oldInterfaces.map((name) => `attr/${name}`)];

  async function leaf(path: string): Promise<void> {
    const value = await readIfAllowed(store, path);
    if (value !== null) keys.set(path, value.toString());
  }

  async function subtree(path: string): Promise<void> {
    const names = await childrenIfAllowed(store, path);
    if (names.length === 0) await leaf(path);
    else await Promise.all(names.map((name) => subtree(`${path}/${name}`)));
  }

  await Promise.all([...OWN_LEAVES.map(leaf), ...subtrees.map(subtree)]);
  return keys;
}
