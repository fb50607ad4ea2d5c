/** Memory that V8 and malloc keep: after the start, and after large transfers. */
import type { NativeAddon } from './addon.ts';

/**
 * Gives back what is not needed any more: some MB of garbage, code that ran only at the start, and the free parts of V8's pages
 * and of malloc's lists; after 16 MiB messages some ten MB. It takes 20-50 ms, so it is for idle moments. V8's own timer for it
 * is switched off, since it wakes the process up (bin/chr-agent).
 */
export function releaseMemory(addon: Pick<NativeAddon, 'mallocTrim'>): void {
  // an ordinary collection leaves pages that are half empty, and all code: 2 MB more in an idle daemon
  globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  addon.mallocTrim();
}
