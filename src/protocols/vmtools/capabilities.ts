/** What the host is told about us: which tools these are, and what they can do (spec vmware.md sections 6.1 and 6.2). */
import type { Tell } from './tell.ts';
import type { ToolsConf } from './tools-conf.ts';
import { TOOLS_TYPE_GUEST_MANAGED, type ToolsVersion, UNMANAGED } from './tools-version.ts';

/** NVMe-aware quiescing, which is not to be had. */
const FEATURES = 'tools.capability.features 36=0';
/** Two of the capabilities have nothing after their blank, and no NUL. */
const BARE = { nul: false };
/** SetGuestInfo's type of the uptime. */
const UPTIME = 7;

/** Once, when there is a connection. @returns whether the host knows all of it now, or does not want it */
export async function announceVersion(tell: Tell, version: ToolsVersion): Promise<boolean> {
  const { description, versionString, versionNumber, buildNumber } = version;
  for (const [key, value] of Object.entries({ description, versionString, versionNumber, buildNumber })) {
    if ((await tell(`info-set guestinfo.vmtools.${key} ${value}`)) === 'lost') return false;
  }
  return true;
}

export interface Capabilities {
  readonly version: ToolsVersion;
  /** Where the host finds, and puts, the tools' configuration. */
  readonly configurationDirectory: string;
  /** Of seconds; null: it is not known now. */
  readonly uptimeHundredths: number | null;
  readonly conf: ToolsConf;
}

/** The answer to `Capabilities_Register`. No `hgfs_server`: the host's file transfers are not served. */
export async function registerCapabilities(tell: Tell, capabilities: Capabilities): Promise<void> {
  const { version, configurationDirectory, uptimeHundredths, conf } = capabilities;
  if (uptimeHundredths !== null) await tell(`SetGuestInfo  ${UPTIME} ${uptimeHundredths}`);
  await tell('tools.capability.statechange ', BARE);
  await tell('tools.capability.softpowerop_retry ', BARE);
  await tell(FEATURES);
  await tell(`tools.capability.guest_conf_directory ${configurationDirectory}`);

  const shown = conf.flag('vmtools', 'hide-tools-version') ? UNMANAGED : version.versionNumber;
  const answer = await tell(`tools.set.versiontype ${shown} ${TOOLS_TYPE_GUEST_MANAGED}`);
  if (answer !== 'refused') return;
  // older hosts know no type; they would offer to upgrade tools that have a number
  const isManaged = conf.flag('vmtools', 'disable-tools-version') === false;
  await tell(`tools.set.version ${isManaged ? shown : UNMANAGED}`);
}

/** At an orderly end. */
export async function withdrawCapabilities(tell: Tell): Promise<void> {
  await tell(FEATURES);
  await tell('info-set guestinfo.appInfo ');
}
