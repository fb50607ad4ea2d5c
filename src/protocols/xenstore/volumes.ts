/** What the host calls the disks of this guest (spec/xenstore.md section 5.6). */
import type { Volume } from '../../guest/volumes.ts';
import type { PublishedVolume } from './keys.ts';
import { readIfAllowed } from './refusals.ts';
import type { XenstoreAccess } from './xenstore.ts';

export interface Backends {
  name(volumes: readonly Volume[]): Promise<PublishedVolume[]>;
}

/** Each disk is asked about once: it does not change while the domain lives. */
export function createBackends(store: XenstoreAccess): Backends {
  const known = new Map<string, string | null>();

  /** A host may keep its own part of the store to itself. */
  async function backendOf(xenDevice: string): Promise<string | null> {
    const path = (await readIfAllowed(store, `${xenDevice}/backend`))?.toString();
    if (path === undefined || path === '') return null;
    const device = await readIfAllowed(store, `${path}/dev`);
    return device === null || device.length === 0 ? null : device.toString();
  }

  return {
    async name(volumes) {
      for (const { xenDevice } of volumes) {
        if (xenDevice === null || known.has(xenDevice)) continue;
        known.set(xenDevice, await backendOf(xenDevice));
      }
      return volumes.map((volume) => ({
        ...volume,
        backend: volume.xenDevice === null ? null : (known.get(volume.xenDevice) ?? null),
      }));
    },
  };
}
