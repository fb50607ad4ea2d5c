/** Verifies the token that a store holds, for the daemon and for a console without one. */
import type { Log } from '../log.ts';
import { licenseCodec } from './codec.ts';
import type { LicenseToken } from './lifecycle.ts';
import type { StoredLicense } from './store.ts';
import { TokenRefusedError, verifyToken } from './token.ts';
import { readVendorKeys } from './vendor-keys.ts';

export type StoredToken =
  | { readonly token: LicenseToken | null; readonly problem: null }
  /** There is one, and it does not count. */
  | { readonly token: null; readonly problem: string };

/** Makes file calls (the vendor's keys) if there is a token at all. */
export async function verifyStoredToken(
  { token: bytes, systemId, highestSerial }: StoredLicense,
  keysDir: string,
  log: Log,
): Promise<StoredToken> {
  if (bytes === null) return { token: null, problem: null };
  try {
    const keys = await readVendorKeys(keysDir, log);
    const token = verifyToken(bytes, { codec: await licenseCodec(), keys, systemId });
    if (token.serial < highestSerial) throw new TokenRefusedError('a newer one was seen');
    return { token, problem: null };
  } catch (error) {
    if (!(error instanceof TokenRefusedError)) throw error;
    return { token: null, problem: `the stored token does not count: ${error.message}` };
  }
}
