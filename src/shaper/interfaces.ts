/**
 * Which interfaces are limited: those with hardware behind them, real or the hypervisor's. What lies on top of them (bridges,
 * VLANs, bonds, tunnels) sends through them and would be limited twice. Pure.
 */
import type { Link } from '../guest/linux/netlink.ts';

export type Selection = 'limited' | 'excluded' | 'not concerned';

export interface HardwareEvidence {
  /** Whether this kernel names the parent device of a link (5.14 and newer). */
  readonly kernelNamesParents: boolean;
  /** Whether /sys/class/net/NAME/device is there; null where sysfs cannot be asked. Only called on older kernels. */
  hasSysfsDevice(name: string): boolean | null;
}

const ARPHRD_ETHER = 1;
const IFF_LOOPBACK = 0x8;

/**
 * @param patterns globs over names. One without wildcards also names an interface without hardware; a glob never does.
 */
export function selectInterface(
  link: Link,
  patterns: readonly string[],
  evidence: HardwareEvidence,
): Selection {
  if ((link.flags & IFF_LOOPBACK) !== 0) return 'not concerned';
  if (patterns.some((pattern) => pattern === link.name)) return 'limited';
  if (!isHardwareBacked(link, evidence)) return 'not concerned';
  return patterns.some((pattern) => matchesGlob(link.name, pattern)) ? 'limited' : 'excluded';
}

export function isHardwareBacked(link: Link, evidence: HardwareEvidence): boolean {
  if (link.parentDevice !== null) return true;
  if (evidence.kernelNamesParents) return false;
  // an Ethernet without a kind of its own is no virtual one: what is left where sysfs shows another namespace
  return evidence.hasSysfsDevice(link.name) ?? (link.kind === null && link.hardwareType === ARPHRD_ETHER);
}

/** `*` any run of characters, `?` one, `[abc]` and `[!abc]` one of these, or none of them. */
export function matchesGlob(name: string, pattern: string): boolean {
  const expression = pattern.replace(/\[(!?)([^\]]+)\]|[\\^$.*+?()[\]{}|]/g, (token, not, set) => {
    if (token === '*') return '.*';
    if (token === '?') return '.';
    if (set === undefined) return `\\${token}`;
    return `[${not === '!' ? '^' : ''}${String(set).replace(/[\\^[]/g, '\\$&')}]`;
  });
  return new RegExp(`^(?:${expression})$`, 's').test(name);
}

/** From `uname -r`. */
export function kernelNamesParents(release: string): boolean {
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10) || 0);
  return major > 5 || (major === 5 && minor >= 14);
}
