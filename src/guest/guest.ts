/** The guest as the protocols see it: facts and actions, built once by the composition root. */
import { hostname } from 'node:os';
import type { Log } from '../log.ts';
import type { NativeAddon } from '../native/addon.ts';
import { type Accounts, createAccounts } from './accounts.ts';
import { type Actions, createActions } from './actions.ts';
import { bootId, bootTimeSeconds } from './boot.ts';
import { type Clock, createClock } from './clock.ts';
import { type Cpu, type CpuSwitch, type CpuTimes, cpus, cpuTimes, switchCpu } from './cpus.ts';
import { createDisks, type Disk } from './disks.ts';
import { type Distribution, distribution } from './distribution.ts';
import { createFileSystems, type FileSystem } from './filesystems.ts';
import type { DiskStatistics } from './linux/diskstats.ts';
import { type LoadAverage, loadAverage } from './load.ts';
import {
  type MemoryBlock,
  type MemoryBlockSwitch,
  memoryBlockSizeBytes,
  memoryBlocks,
  switchMemoryBlock,
} from './memory.ts';
import { type MemoryStatistics, memoryStatistics } from './memory-statistics.ts';
import { type MemoryUsage, memoryUsage } from './memory-usage.ts';
import { type NetworkInterface, networkInterfaces } from './network.ts';
import { type OsFacts, osFacts } from './os.ts';
import { type Resolver, resolver } from './resolver.ts';
import { type RoutingTables, routingTables } from './routes.ts';
import { type TrimOutcome, trimFileSystems } from './trim.ts';
import { uptimeHundredths } from './uptime.ts';
import { type LoggedInUser, loggedInUsers } from './users.ts';
import { vmwareDisks } from './vmware-disks.ts';
import { type Volume, volumes } from './volumes.ts';
import { xenVifNumber } from './xen-devices.ts';

export interface Guest {
  /** @throws {NetworkFactsError} */
  networkInterfaces(): NetworkInterface[];
  /** @param most rows of a table; without it a table that is too long is an error. @throws {SystemCallError} */
  routingTables(most?: number): Promise<RoutingTables>;
  /** Not while frozen. */
  resolver(): Resolver;
  /** Xen's number of an interface, null for one of another kind. */
  xenVifNumber(interfaceName: string): number | null;
  os(): OsFacts;
  distribution(): Distribution;
  /** gethostname(2), not cached. */
  hostname(): string;
  /** Another one after every boot. @throws {SystemCallError} */
  bootId(): string;
  /** Since 1970. @throws {SystemCallError} */
  bootTimeSeconds(): number;
  /** @throws {SystemCallError} */
  uptimeHundredths(): number;
  /** @throws {SystemCallError} */
  cpus(): Cpu[];
  /** @throws {SystemCallError} */
  cpuTimes(): CpuTimes[];
  /** @throws {ActionRefused} */
  switchCpu(number: bigint, online: boolean): Promise<CpuSwitch>;
  /** @throws {SystemCallError} */
  loadAverage(): LoadAverage;
  /** @throws {SystemCallError} */
  memoryUsage(): MemoryUsage;
  /** @throws {SystemCallError} */
  memoryStatistics(): MemoryStatistics;
  /** @throws {SystemCallError} */
  memoryBlocks(): Promise<MemoryBlock[]>;
  /** @throws {SystemCallError} */
  memoryBlockSizeBytes(): bigint;
  /** @throws {ActionRefused} */
  switchMemoryBlock(index: bigint, online: boolean): Promise<MemoryBlockSwitch>;
  /** @throws {SystemCallError} */
  loggedInUsers(): Promise<LoggedInUser[]>;
  readonly accounts: Accounts;
  /**
   * File systems of block devices in mount order, within 2 s. Not while frozen.
   *
   * @param withoutDevice types that count although they lie on no device of their own (`zfs`)
   * @throws {SystemCallError}
   */
  fileSystems(withoutDevice?: readonly string[]): Promise<FileSystem[]>;
  /** VMware's names (`scsi0:1`) of the disks below a device (`sda1`, `dm-0`). */
  vmwareDisks(deviceName: string): string[];
  /** What the disks are divided into. Not while frozen. @param fileSystems those that are mounted */
  volumes(fileSystems: readonly FileSystem[]): Volume[];
  /** Within 2 s. Not while frozen. */
  disks(): Promise<Disk[]>;
  /** @throws {SystemCallError} */
  diskStatistics(): DiskStatistics[];
  /** Trims every file system, in mount order; may take minutes. Not while frozen. @throws {ActionRefused} @throws {SystemCallError} */
  trimFileSystems(minimumBytes: bigint): Promise<TrimOutcome[]>;
  readonly clock: Clock;
  readonly actions: Actions;
}

export interface GuestOptions {
  native: NativeAddon;
  log: Log;
  /** CHR_AGENT_NO_ACTIONS=1, or a development run. */
  noActions: boolean;
  /** CHR_AGENT_TEST_ROOT, null if not set. */
  testRoot: string | null;
  /** QGA_OS_RELEASE, null if not set. */
  osReleaseFile: string | null;
  /** TZ, undefined if not set. */
  tzVariable: string | undefined;
  /** Prefix of /proc, /sys, /etc, /run and of home directories, for tests. */
  root?: string;
}

export function createGuest(options: GuestOptions): Guest {
  const { native, log, noActions, testRoot, osReleaseFile, tzVariable, root = '/' } = options;
  const actions = createActions({ native, log, noActions, testRoot, root });
  const fileSystems = createFileSystems({ native, log, root });
  const disks = createDisks({ native, log, root });
  const os = () => osFacts({ root, releaseFile: osReleaseFile });
  return {
    networkInterfaces: () => networkInterfaces(native),
    routingTables: (most) => routingTables(root, most),
    resolver: () => resolver(root),
    xenVifNumber: (interfaceName) => xenVifNumber(interfaceName, root),
    os,
    distribution: () => distribution(os(), root),
    hostname,
    bootId: () => bootId(root),
    bootTimeSeconds: () => bootTimeSeconds(root),
    uptimeHundredths: () => uptimeHundredths(root),
    cpus: () => cpus(root),
    cpuTimes: () => cpuTimes(root),
    switchCpu: (number, online) => switchCpu(number, online, { actions, root }),
    loadAverage: () => loadAverage(root),
    memoryUsage: () => memoryUsage(root),
    memoryStatistics: () => memoryStatistics(root),
    memoryBlocks: () => memoryBlocks(root),
    memoryBlockSizeBytes: () => memoryBlockSizeBytes(root),
    switchMemoryBlock: (index, online) => switchMemoryBlock(index, online, { actions, root }),
    loggedInUsers: () => loggedInUsers(root),
    accounts: createAccounts({ actions, root }),
    fileSystems: (withoutDevice) => fileSystems.list(withoutDevice),
    vmwareDisks: (deviceName) => vmwareDisks(deviceName, root),
    volumes: (mounted) => volumes(mounted, root),
    disks: () => disks.list(),
    diskStatistics: () => disks.statistics(),
    trimFileSystems: (minimumBytes) => trimFileSystems(actions, minimumBytes, root),
    clock: createClock({ native, root, tzVariable }),
    actions,
  };
}
