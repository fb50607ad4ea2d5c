/**
 * What is to be reported: the virtual machine's configuration (`guestinfo.*`, asked for by info-get) goes before tools.conf,
 * and that before the defaults (spec vmware.md section 6; chr-wiki.txt, "Guest info").
 */
import { RpcRefused } from '../channel-errors.ts';
import type { Rpci } from '../rpc.ts';
import type { ToolsConf } from '../tools-conf.ts';
import { MAX_ROUTES, type RouteLimits } from './routes.ts';
import { DEFAULT_EXCLUDED, type NicPatterns } from './selection.ts';

/** As the host has them; null: it has none. */
export interface HostSettings {
  readonly disablePerfmon: boolean | null;
  readonly excludeNics: string | null;
  readonly primaryNics: string | null;
  readonly lowPriorityNics: string | null;
}

export interface GuestInfoSettings {
  readonly nics: NicPatterns;
  readonly routes: RouteLimits;
  readonly areStatisticsReported: boolean;
  readonly areDisksReported: boolean;
  /** Whether what is kept for root counts as free. */
  readonly includeReserved: boolean;
  /** Whether the host is told on which of its disks a file system lies. */
  readonly areDevicesReported: boolean;
  /** In the place of what the system says. */
  readonly shortName: string | null;
  readonly fullName: string | null;
}

export const NO_HOST_SETTINGS: HostSettings = {
  disablePerfmon: null,
  excludeNics: null,
  primaryNics: null,
  lowPriorityNics: null,
};

/** @throws {ChannelLost} */
export async function readHostSettings(rpci: Pick<Rpci, 'request'>): Promise<HostSettings> {
  const perfmon = await readVariable(rpci, 'disable-perfmon');
  return {
    disablePerfmon: perfmon === null ? null : flagOf(perfmon),
    excludeNics: await readVariable(rpci, 'exclude-nics'),
    primaryNics: await readVariable(rpci, 'primary-nics'),
    lowPriorityNics: await readVariable(rpci, 'low-priority-nics'),
  };
}

/** @param compat in `chr` the statistics are off until somebody wants them, in `upstream` on until somebody does not */
export function guestInfoSettings(
  host: HostSettings,
  conf: ToolsConf,
  compat: 'chr' | 'upstream',
): GuestInfoSettings {
  const isPerfmonDisabled =
    host.disablePerfmon ?? conf.flag('guestinfo', 'disable-perf-mon') ?? compat === 'chr';
  return {
    nics: {
      exclude: host.excludeNics ?? conf.text('guestinfo', 'exclude-nics') ?? DEFAULT_EXCLUDED,
      primary: host.primaryNics ?? conf.text('guestinfo', 'primary-nics') ?? '',
      lowPriority: host.lowPriorityNics ?? conf.text('guestinfo', 'low-priority-nics') ?? '',
    },
    routes: {
      ipv4: limitOf(conf.number('guestinfo', 'max-ipv4-routes')),
      ipv6: limitOf(conf.number('guestinfo', 'max-ipv6-routes')),
    },
    areStatisticsReported: !isPerfmonDisabled,
    areDisksReported: conf.flag('guestinfo', 'disable-query-diskinfo') !== true,
    includeReserved: conf.flag('guestinfo', 'diskinfo-include-reserved') === true,
    areDevicesReported: conf.flag('guestinfo', 'diskinfo-report-device') !== false,
    shortName: conf.text('guestosinfo', 'short-name') || null,
    fullName: conf.text('guestosinfo', 'long-name') || null,
  };
}

async function readVariable(rpci: Pick<Rpci, 'request'>, name: string): Promise<string | null> {
  try {
    const value = await rpci.request(`info-get guestinfo.${name}`);
    return value.toString().replace(/\0.*$/s, '').trim();
  } catch (error) {
    if (error instanceof RpcRefused) return null;
    throw error;
  }
}

/** null: neither. */
function flagOf(text: string): boolean | null {
  const word = text.toUpperCase();
  return word === 'TRUE' ? true : word === 'FALSE' ? false : null;
}

function limitOf(count: number | undefined): number {
  return count === undefined || count < 0 ? MAX_ROUTES : Math.min(count, MAX_ROUTES);
}
