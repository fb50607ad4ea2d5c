/** How far the guest's clock is from the host's: one measurement (spec vmware.md section 10). Pure apart from the two clocks. */
import type { HostTime } from './host-time.ts';

export interface Sample {
  /** Guest less host: positive when the guest is ahead. */
  readonly differenceUs: number;
  /** The same without what a guest that gets its interrupts late will catch up by itself. Decisions go by this. */
  readonly errorUs: number;
  readonly maxErrorUs: number;
  /** Whether the host tells how late interrupts are: slewing in small steps needs that. */
  readonly hasLag: boolean;
}

/** The two readings of the host should not be farther apart; then the guest's, between them, is told well. */
const CLOSE_ENOUGH_US = 2_000;
const MAX_ATTEMPTS = 4;

/**
 * @param readHost null: the host tells no time
 * @param guestUs microseconds since 1970
 * @returns null if the host tells no time
 */
export function takeSample(readHost: () => HostTime | null, guestUs: () => bigint): Sample | null {
  let best: { widthUs: number; sample: Sample } | null = null;
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    const before = readHost();
    const guest = guestUs();
    const after = readHost();
    if (before === null || after === null) return null;
    const widthUs = Number(after.us - before.us);
    if (best === null || Math.abs(widthUs) < best.widthUs)
      best = {
        widthUs: Math.abs(widthUs),
        sample: sampleOf(before.us + (after.us - before.us) / 2n, guest, after),
      };
    if (best.widthUs <= CLOSE_ENOUGH_US) break;
  }
  return best?.sample ?? null;
}

function sampleOf(hostUs: bigint, guestUs: bigint, { lagUs, maxErrorUs }: HostTime): Sample {
  const differenceUs = Number(guestUs - hostUs);
  return { differenceUs, errorUs: differenceUs + (lagUs ?? 0), maxErrorUs, hasLag: lagUs !== null };
}
