/** The vendor's public keys: `*.pem` in a directory, the file's name without `.pem` is the key id (licensing.md "Token"). */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../log.ts';

/** Checks signatures; made by {@link readVendorKeys}. */
export interface VendorKeys {
  readonly ids: readonly string[];
  /** Whether `signature` is that of the key `keyId` over `payload`; null if there is no such key. */
  verify(keyId: string, payload: Uint8Array, signature: Uint8Array): boolean | null;
}

const SUFFIX = '.pem';
const MAX_KEYS = 100;

/**
 * Reads all keys; a file that is no Ed25519 public key is named in the log and left out, as is a directory that cannot be read.
 * Loads node:crypto.
 */
export async function readVendorKeys(directory: string, log: Log): Promise<VendorKeys> {
  const crypto = await import('node:crypto');
  const keys = new Map<string, ReturnType<typeof crypto.createPublicKey>>();
  for (const file of namesIn(directory, log).slice(0, MAX_KEYS)) {
    const path = join(directory, file);
    try {
      const pem = readFileSync(path, 'utf8');
      // a private key would be read as the public one that belongs to it
      if (pem.includes('PRIVATE KEY')) throw new Error('holds a private key, which has no place here');
      const key = crypto.createPublicKey(pem);
      if (key.asymmetricKeyType !== 'ed25519') throw new Error('not an Ed25519 key');
      keys.set(file.slice(0, -SUFFIX.length), key);
    } catch (error) {
      log.warning(`license key ${path} is not used: ${error instanceof Error ? error.message : error}`);
    }
  }
  return {
    ids: [...keys.keys()],
    verify(keyId, payload, signature) {
      const key = keys.get(keyId);
      if (key === undefined) return null;
      return signature.length === 64 && crypto.verify(null, payload, key, signature);
    },
  };
}

function namesIn(directory: string, log: Log): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith(SUFFIX) && name !== SUFFIX)
      .sort();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') log.warning(`license keys in ${directory} cannot be read: ${message}`);
    return [];
  }
}
