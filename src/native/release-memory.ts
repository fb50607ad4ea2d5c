/** Memory that V8 and malloc keep after large transfers. */
import type { NativeAddon } from './addon.ts';

/**
 * Gives back what a large transfer has left in V8's heap and in malloc's free lists: some ten MB after 16 MiB messages. It takes
 * milliseconds, so it is for idle moments. V8's own timer for it is switched off, since it wakes the process up (bin/chr-agent).
 */
export function releaseMemory(addon: Pick<NativeAddon, 'mallocTrim'>): void {
  globalThis.gc?.();
  addon.mallocTrim();
}
