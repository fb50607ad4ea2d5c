/**
 * As which tools we present ourselves. Hosts compare the number with their own tools' and derive from it what a guest can do, so it
 * is that of the open-vm-tools whose protocol this is (spec vmware.md sections 6.1 and 6.2); description and build are ours.
 */

export interface ToolsVersion {
  readonly description: string;
  readonly versionString: string;
  readonly versionNumber: number;
  readonly buildNumber: number;
}

const [MAJOR, MINOR, PATCH] = [12, 2, 0];

/** The guest's own packages look after it, not the host: vSphere says 'guest managed'. */
export const TOOLS_TYPE_GUEST_MANAGED = 4;
/** The version number of tools that do not want theirs looked at. */
export const UNMANAGED = 0x7fff_ffff;

/** @param agentVersion as `1.2.3` */
export function toolsVersion(agentVersion: string): ToolsVersion {
  const [major = 0, minor = 0, patch = 0] = agentVersion
    .split('.')
    .map((part) => Number.parseInt(part, 10) || 0);
  return {
    description: `chr-agent ${agentVersion}`,
    versionString: `${MAJOR}.${MINOR}.${PATCH}`,
    versionNumber: MAJOR * 1024 + MINOR * 32 + PATCH,
    buildNumber: major * 1_000_000 + minor * 1000 + patch,
  };
}
