/** Requests of which a refusal is an answer, not a failure: what is not there, and what the host keeps to itself. */
import { type XenstoreAccess, XenstoreError } from './xenstore.ts';

/** null: there is no such node. */
export async function readIfThere(access: XenstoreAccess, path: string): Promise<Buffer | null> {
  try {
    return await access.read(path);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** null: there is no such node, or none that a guest may read. */
export async function readIfAllowed(access: XenstoreAccess, path: string): Promise<Buffer | null> {
  try {
    return await readIfThere(access, path);
  } catch (error) {
    if (isDenied(error)) return null;
    throw error;
  }
}

/** Names of the children; none if there is no such node, or none that a guest may read. */
export async function childrenIfAllowed(access: XenstoreAccess, path: string): Promise<string[]> {
  try {
    return await access.directory(path);
  } catch (error) {
    if (isMissing(error) || isDenied(error)) return [];
    throw error;
  }
}

/** Whether the host let the guest do it. */
export async function allowed(request: Promise<void>): Promise<boolean> {
  try {
    await request;
    return true;
  } catch (error) {
    if (isDenied(error)) return false;
    throw error;
  }
}

export function isDenied(error: unknown): boolean {
  return error instanceof XenstoreError && (error.code === 'EACCES' || error.code === 'EPERM');
}

const NO_ROOM = new Set(['ENOSPC', 'E2BIG', 'EQUOTA']);

/** The value is longer than a node may be, or the guest has as much as it may have. */
export function isNoRoom(error: unknown): error is XenstoreError {
  return error instanceof XenstoreError && NO_ROOM.has(error.code);
}

function isMissing(error: unknown): boolean {
  return error instanceof XenstoreError && error.code === 'ENOENT';
}
