/** Which domain this is, as far as it can be told: a resume or a migration makes it another one (spec/xenstore.md section 7). */
import { readIfThere } from './refusals.ts';
import type { XenstoreAccess } from './xenstore.ts';

/**
 * Changes with every resume on XAPI, nearly with every one elsewhere. Both ids, since `unique-domain-id` is XAPI's only, and `domid` can be equal after
 * a migration to another host.
 */
export async function domainIdentity(access: XenstoreAccess): Promise<string> {
  const [domainId, uniqueId] = await Promise.all([
    textOf(access, 'domid'),
    textOf(access, 'unique-domain-id'),
  ]);
  return `${domainId}/${uniqueId}`;
}

/** The domain's number, '' if the store does not tell. */
export async function domainNumber(access: XenstoreAccess): Promise<string> {
  return textOf(access, 'domid');
}

/** The virtual machine's UUID, which it keeps for ever, but a copy of it has another one; '' if the store does not tell. */
export async function machineUuid(access: XenstoreAccess): Promise<string> {
  const path = await textOf(access, 'vm');
  return path.slice(path.lastIndexOf('/') + 1);
}

async function textOf(access: XenstoreAccess, path: string): Promise<string> {
  return ((await readIfThere(access, path)) ?? '').toString();
}
