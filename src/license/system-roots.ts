/**
 * The certificates that the machine's administrator trusts, as one PEM text. Not by node:tls, which reads each of them several
 * times (file, directory and its links) and keeps them for good.
 */
import { readFileSync } from 'node:fs';

/** Debian and Alpine; Red Hat; SUSE; OpenSSL's own. */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/**
 * Makes file calls.
 * @param named `SSL_CERT_FILE`, as OpenSSL takes it
 * @returns null if there are none: a machine without the package that brings them
 */
export function readSystemRoots(
  named: string | undefined,
  bundles: readonly string[] = BUNDLES,
): string | null {
  for (const path of named ? [named] : bundles) {
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return null;
}
