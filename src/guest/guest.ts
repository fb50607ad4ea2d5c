/** The guest as the protocols see it: facts and actions, built once by the composition root. */
import { hostname } from 'node:os';
import type { Log } from '../log.ts';
import type { NativeAddon } from '../native/addon.ts';
import { type Accounts, createAccounts } from './accounts.ts';
import { type Actions, createActions } from './actions.ts';
import { type Clock, createClock } from './clock.ts';
import { type Cpu, type CpuSwitch, type CpuTimes, cpus, cpuTimes, switchCpu } from './cpus.ts';
import { createDisks, type Disk } from './disks.ts';
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
import { type NetworkInterface, networkInterfaces } from './network.ts';
import { type OsFacts, osFacts } from './os.ts';
import { type RoutingTables, routingTables } from './routes.ts';
import { type TrimOutcome, trimFileSystems } from './trim.ts';
import { type LoggedInUser, loggedInUsers } from './users.ts';

export interface Guest {
  /** @throws {NetworkFactsError} */
  networkInterfaces(): NetworkInterface[];
  /** @throws {SystemCallError} */
  routingTables(): Promise<RoutingTables>;
  os(): OsFacts;
  /** gethostname(2), not cached. */
  hostname(): string;
  /** @throws {SystemCallError} */
  cpus(): Cpu[];
  /** @throws {SystemCallError} */
  cpuTimes(): CpuTimes[];
  /** @throws {ActionRefused} */
  switchCpu(number: bigint, online: boolean): Promise<CpuSwitch>;
  /** @throws {SystemCallError} */
  loadAverage(): LoadAverage;
  /** @throws {SystemCallError} */
  memoryBlocks(): Promise<MemoryBlock[]>;
  /** @throws {SystemCallError} */
  memoryBlockSizeBytes(): bigint;
  /** @throws {ActionRefused} */
  switchMemoryBlock(index: bigint, online: boolean): Promise<MemoryBlockSwitch>;
  /** @throws {SystemCallError} */
  loggedInUsers(): Promise<LoggedInUser[]>;
  readonly accounts: Accounts;
  /** File systems of block devices in mount order, within 2 s. Not while frozen. @throws {SystemCallError} */
  fileSystems(): Promise<FileSystem[]>;
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
  return {
    networkInterfaces: () => networkInterfaces(native),
    routingTables: () => routingTables(root),
    os: () => osFacts({ root, releaseFile: osReleaseFile }),
    hostname,
    cpus: () => cpus(root),
    cpuTimes: () => cpuTimes(root),
    switchCpu: (number, online) => switchCpu(number, online, { actions, root }),
    loadAverage: () => loadAverage(root),
    memoryBlocks: () => memoryBlocks(root),
    memoryBlockSizeBytes: () => memoryBlockSizeBytes(root),
    switchMemoryBlock: (index, online) => switchMemoryBlock(index, online, { actions, root }),
    loggedInUsers: () => loggedInUsers(root),
    accounts: createAccounts({ actions, root }),
    fileSystems: () => fileSystems.list(),
    disks: () => disks.list(),
    diskStatistics: () => disks.statistics(),
    trimFileSystems: (minimumBytes) => trimFileSystems(actions, minimumBytes, root),
    clock: createClock({ native, root, tzVariable }),
    actions,
  };
}
