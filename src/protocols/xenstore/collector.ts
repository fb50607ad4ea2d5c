/** The facts that are published, read from the guest. What cannot be read is left out, with one log line. */
import type { Distribution } from '../../guest/distribution.ts';
import type { FileSystem } from '../../guest/filesystems.ts';
import type { MemoryUsage } from '../../guest/memory-usage.ts';
import type { NetworkInterface } from '../../guest/network.ts';
import type { Volume } from '../../guest/volumes.ts';
import type { Log } from '../../log.ts';

/** What the publisher asks of the guest. */
export interface PublishedGuest {
  networkInterfaces(): NetworkInterface[];
  xenVifNumber(interfaceName: string): number | null;
  os(): { kernelRelease: string };
  distribution(): Distribution;
  hostname(): string;
  memoryUsage(): MemoryUsage;
  bootTimeSeconds(): number;
  /** Within 2 s. */
  fileSystems(): Promise<FileSystem[]>;
  volumes(fileSystems: readonly FileSystem[]): Volume[];
}

/** What changes by and by; the network tells of itself. */
export interface SlowFacts {
  distribution: Distribution;
  kernelRelease: string;
  hostname: string;
  memory: MemoryUsage | null;
  bootTimeSeconds: number | null;
  volumes: Volume[];
}

export interface Collector {
  slow(): Promise<SlowFacts>;
  interfaces(): NetworkInterface[];
}

/** Not to be used while frozen. */
export function createCollector(guest: PublishedGuest, log: Log): Collector {
  const logged = new Set<string>();

  function attempt<T, Otherwise>(what: string, read: () => T, otherwise: Otherwise): T | Otherwise {
    try {
      const value = read();
      logged.delete(what);
      return value;
    } catch (error) {
      report(what, error);
      return otherwise;
    }
  }

  function report(what: string, error: unknown): void {
    if (!logged.has(what)) log.warning(`${what}: ${String(error)}`);
    logged.add(what);
  }

  async function mounted(): Promise<FileSystem[]> {
    try {
      return await guest.fileSystems();
    } catch (error) {
      report('the file systems', error);
      return [];
    }
  }

  return {
    async slow() {
      const facts = {
        distribution: guest.distribution(),
        kernelRelease: guest.os().kernelRelease,
        hostname: guest.hostname(),
        memory: attempt('the memory', () => guest.memoryUsage(), null),
        bootTimeSeconds: attempt('the boot time', () => guest.bootTimeSeconds(), null),
      };
      const fileSystems = await mounted();
      return { ...facts, volumes: attempt('the disks', () => guest.volumes(fileSystems), []) };
    },
    interfaces: () => attempt('the network interfaces', () => guest.networkInterfaces(), []),
  };
}
