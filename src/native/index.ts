/**
 * Finds and loads the native addon. It lies beside the bundle (`dist/chr-agent.node`), or in `build/` when the
 * sources run directly (tests).
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { NativeAddon } from './addon.ts';

export type { ExitStatus, NativeAddon, Poller, Spawned, SpawnOptions } from './addon.ts';
export { POLL_HANGUP, POLL_READABLE, POLL_WRITABLE, SCAN_NON_ASCII, SCAN_NON_BASE64 } from './addon.ts';

/** Where a file of the native build is: beside the bundle, else in the source tree's `build/`. */
function nativeFile(name: string): string {
  const places = [join(import.meta.dirname, name), join(import.meta.dirname, '../../build', name)];
  return places.find((path) => existsSync(path)) ?? places[0] ?? name;
}

/** The static helper program (native/helper). */
export const helperPath = nativeFile('chr-agent-helper');

export class NativeAddonError extends Error {
  override name = 'NativeAddonError';
}

function load(): NativeAddon {
  const path = nativeFile('chr-agent.node');
  try {
    return createRequire(import.meta.filename)(path) as NativeAddon;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause);
    throw new NativeAddonError(
      `cannot load the native addon ${path} (${why}): build it with "make build" in the source tree, ` +
        'or install the package for this architecture (x86-64, glibc)',
      { cause },
    );
  }
}

export const native: NativeAddon = load();
