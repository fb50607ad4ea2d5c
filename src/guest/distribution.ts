/** The distribution as hosts show it: os-release(5), and Debian's own version file, which alone has the point release. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { OsFacts } from './os.ts';

export interface Distribution {
  /** Lower case: `debian`, `ubuntu`, `centos`. */
  id: string;
  /** For people: `Debian 12.5`, `Ubuntu 22.04.4 LTS`. */
  name: string;
  /** null if there is no such number. */
  majorVersion: string | null;
  minorVersion: string | null;
}

export function distribution(os: Pick<OsFacts, 'release'>, root = '/'): Distribution {
  return describeDistribution(os.release, debianVersion(root));
}

/**
 * Pure.
 * @param release the keys of os-release
 * @param debianVersion the first line of /etc/debian_version, which others that come from Debian have too
 */
export function describeDistribution(
  release: ReadonlyMap<string, string>,
  debianVersion: string | null,
): Distribution {
  const id = (release.get('ID') || 'linux').toLowerCase();
  const isDebian = id === 'debian' && debianVersion !== null && debianVersion !== '';
  const name = isDebian
    ? `Debian ${debianVersion}`
    : release.get('PRETTY_NAME') || release.get('NAME') || 'Linux';
  const ofDebian = isDebian ? numbersOf(debianVersion) : null;
  const [major, minor] = ofDebian ?? numbersOf(release.get('VERSION_ID') ?? '') ?? [];
  return { id, name, majorVersion: major ?? null, minorVersion: minor ?? null };
}

/** null for what is no number (`trixie/sid`, a rolling release). */
function numbersOf(version: string): string[] | null {
  return /^\d+(\.\d+)*/.exec(version)?.[0].split('.') ?? null;
}

function debianVersion(root: string): string | null {
  try {
    return readFileSync(join(root, 'etc/debian_version'), 'utf8').split('\n', 1)[0]?.trim() ?? null;
  } catch {
    return null;
  }
}
