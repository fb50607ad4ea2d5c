/** The shaper in the daemon: when it runs, and at which level. */
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { Guest } from '../guest/guest.ts';
import type { LevelSource } from '../license/levels.ts';
import type { Log } from '../log.ts';
import type { NativeAddon } from '../native/addon.ts';
import type { ReportClock } from '../report-clock.ts';
import { createShaper, type Shaper } from '../shaper/shaper.ts';
import type { ShaperStatus } from '../shaper/shaper-status.ts';
import type { Config } from './config.ts';
import type { Detection } from './detect.ts';

export interface Shaping {
  /** Starts or stops it as the configuration says; a stop leaves the limits in place. */
  update(config: Config): Promise<void>;
  status(): ShaperStatus | Promise<ShaperStatus>;
  close(): void;
}

export interface ShapingOptions {
  native: NativeAddon;
  log: Log;
  gate: FreezeGate;
  guest: Guest;
  clock: ReportClock;
  /** null: `chr-agent qemu-ga`, which limits nothing. */
  license: LevelSource | null;
  detection: Detection;
}

/** A license that takes longer to read must not leave interfaces without a limit. */
const LICENSE_WAIT_MS = 2000;

export function createShaping(options: ShapingOptions): Shaping {
  const { native, log, gate, guest, clock, license, detection } = options;
  let shaper: Shaper | null = null;
  let whyOff = 'not started yet';
  let isOpen = true;
  const stopLevels = license?.onLevelChange((level) => shaper?.setLevel(level));

  return {
    async update({ shaper: { enabled, interfaces } }) {
      const off = reasonToBeOff(enabled);
      if (off !== null || license === null) {
        whyOff = off ?? '';
        shaper?.close();
        shaper = null;
        return;
      }
      if (shaper !== null) {
        shaper.setPatterns(interfaces);
        return;
      }
      const isLoaded = await loadedWithin(license, LICENSE_WAIT_MS);
      if (!isOpen) return;
      shaper ??= createShaper({
        native,
        actions: guest.actions,
        log,
        gate,
        clock,
        level: isLoaded ? license.level() : null,
        patterns: interfaces,
      });
      if (!isLoaded) void license.loaded.then(() => shaper?.setLevel(license.level()));
    },
    status: () => shaper?.status() ?? { state: 'off', why: whyOff },
    close() {
      isOpen = false;
      stopLevels?.();
      shaper?.close();
      shaper = null;
    },
  };

  function reasonToBeOff(enabled: Config['shaper']['enabled']): string | null {
    if (license === null) return 'chr-agent qemu-ga limits nothing';
    if (enabled === false) return 'switched off in the configuration';
    return enabled === 'auto' && detection.hypervisor === 'none' ? 'this is no virtual machine' : null;
  }
}

async function loadedWithin(license: LevelSource, limitMs: number): Promise<boolean> {
  const timeLimit = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => timeLimit.resolve(false), limitMs);
  try {
    return await Promise.race([license.loaded.then(() => true), timeLimit.promise]);
  } finally {
    clearTimeout(timer);
  }
}
