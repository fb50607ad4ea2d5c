/** What is reported, asked of the guest: what cannot be read is left out, with one log line. Not to be used while frozen. */
import type { FileSystem } from '../../../guest/filesystems.ts';
import type { MemoryStatistics } from '../../../guest/memory-statistics.ts';
import type { NetworkInterface } from '../../../guest/network.ts';
import type { Resolver } from '../../../guest/resolver.ts';
import type { RoutingTables } from '../../../guest/routes.ts';
import type { Log } from '../../../log.ts';
import { type ReportedDisk, reportedDisks } from './disks.ts';
import { reportedDns } from './dns.ts';
import { isReported, type NicReport, primaryAddress, reportedNics } from './nics.ts';
import { type OsNames, osDetails, osNames } from './os.ts';
import { reportedRoutes } from './routes.ts';
import { selectInterfaces } from './selection.ts';
import type { GuestInfoSettings } from './settings.ts';

/** What the reports ask of the guest. */
export interface ReportedGuest {
  networkInterfaces(): NetworkInterface[];
  /** @param most rows of a table that are looked at */
  routingTables(most: number): Promise<RoutingTables>;
  resolver(): Resolver;
  os(): { kernelRelease: string; machine: string; release: ReadonlyMap<string, string> };
  hostname(): string;
  uptimeHundredths(): number;
  memoryStatistics(): MemoryStatistics;
  /** Within 2 s. @param withoutDevice types that count although they lie on no device of their own */
  fileSystems(withoutDevice: readonly string[]): Promise<FileSystem[]>;
  /** VMware's names of the disks below a device. */
  vmwareDisks(deviceName: string): string[];
}

export interface Facts {
  hostname(): string;
  /** null: not known. */
  uptimeHundredths(): number | null;
  os(settings: GuestInfoSettings): { names: OsNames; details: string | null };
  network(settings: GuestInfoSettings): Promise<NicReport | null>;
  primaryAddress(settings: GuestInfoSettings): string | null;
  disks(settings: GuestInfoSettings): Promise<ReportedDisk[] | null>;
  statistics(): MemoryStatistics | null;
}

/** A router may have a million of them. */
const MOST_ROUTE_ROWS = 1000;
const WITHOUT_DEVICE = ['zfs'];

/** @param withoutAddress whether interfaces without an address are reported */
export function createFacts(guest: ReportedGuest, log: Log, withoutAddress: boolean): Facts {
  const logged = new Set<string>();

  function report(what: string, error: unknown): null {
    if (!logged.has(what)) log.warning(`guest information: ${what}: ${String(error)}`);
    logged.add(what);
    return null;
  }

  function attempt<T>(what: string, read: () => T): T | null {
    try {
      const value = read();
      logged.delete(what);
      return value;
    } catch (error) {
      return report(what, error);
    }
  }

  function selected({ nics }: GuestInfoSettings): NetworkInterface[] | null {
    const interfaces = attempt('the network interfaces', () => guest.networkInterfaces());
    return interfaces && selectInterfaces(interfaces, nics, withoutAddress);
  }

  async function routingTables(): Promise<RoutingTables> {
    try {
      return await guest.routingTables(MOST_ROUTE_ROWS);
    } catch (error) {
      report('the routes', error);
      return { ipv4: [], ipv6: [] };
    }
  }

  return {
    hostname: () => guest.hostname(),
    uptimeHundredths: () => attempt('the uptime', () => guest.uptimeHundredths()),
    os({ shortName, fullName }) {
      const os = guest.os();
      const names = osNames(os);
      if (shortName === null && fullName === null) return { names, details: osDetails(os) };
      const own = { shortName: shortName ?? names.shortName, fullName: fullName ?? names.fullName };
      return { names: own, details: null };
    },
    async network(settings) {
      const interfaces = selected(settings);
      if (interfaces === null) return null;
      const nics = reportedNics(interfaces);
      const names = nics.map(({ name }) => name);
      const routes = reportedRoutes(await routingTables(), names, settings.routes);
      return { nics, routes, dns: reportedDns(guest.hostname(), guest.resolver()) };
    },
    primaryAddress: (settings) => primaryAddress((selected(settings) ?? []).filter(isReported)),
    async disks({ includeReserved, areDevicesReported }) {
      const devicesOf = (name: string) => (areDevicesReported ? guest.vmwareDisks(name) : []);
      try {
        return reportedDisks(await guest.fileSystems(WITHOUT_DEVICE), includeReserved, devicesOf);
      } catch (error) {
        return report('the file systems', error);
      }
    },
    statistics: () => attempt('the memory', () => guest.memoryStatistics()),
  };
}
