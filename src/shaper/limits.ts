/** What a license level allows on the wire, and the queue sizes that go with it. spec/licensing.md, "Levels". Pure. */
import type { Level } from '../license/levels.ts';

/** Egress of one interface in layer 2 frames, decimal; null: none. */
export const LIMITS: Readonly<Record<Level, number | null>> = {
  free: 1e6,
  p1: 1e9,
  p10: 1e10,
  'p-unlimited': null,
};

/** The sizes of a limit on one interface. */
export interface LimitSizes {
  readonly rateBytesPerSecond: number;
  /** What may leave at once: also the largest packet that passes unsegmented. */
  readonly burstBytes: number;
  /** Of a plain fifo. */
  readonly queueBytes: number;
  readonly codelTargetUs: number;
  readonly queuePackets: number;
  readonly queueMemoryBytes: number;
}

/** A late timer loses nothing up to this: the virtual CPU was away, or timers tick at 125 Hz. */
const BURST_SECONDS = 0.008;
/** With less, a timer a few milliseconds late loses rate at 1 Mbit/s; with more, packets of TSO's size pass whole there. */
const BURST_FRAMES = 4;
const QUEUE_SECONDS = 0.01;
const QUEUE_FRAMES = 16;
/** Link layer headers, with room: Ethernet with two VLAN tags has 22, InfiniBand 44. */
const HEADER_BYTES = 64;
const CODEL_TARGET_US = 5000;

export function limitSizes(bitsPerSecond: number, mtuBytes: number): LimitSizes {
  const rateBytesPerSecond = bitsPerSecond / 8;
  const frameBytes = mtuBytes + HEADER_BYTES;
  const queueBytes = Math.max(Math.round(rateBytesPerSecond * QUEUE_SECONDS), QUEUE_FRAMES * frameBytes);
  return {
    rateBytesPerSecond,
    burstBytes: Math.max(Math.round(rateBytesPerSecond * BURST_SECONDS), BURST_FRAMES * frameBytes),
    queueBytes,
    // below the time of one and a half frames codel would drop what cannot be any faster
    codelTargetUs: Math.max(CODEL_TARGET_US, Math.ceil((1.5e6 * frameBytes) / rateBytesPerSecond)),
    queuePackets: bitsPerSecond < 1e8 ? 1000 : 10_240,
    // kernel memory, of which a packet takes more than its length
    queueMemoryBytes: Math.max(2 * queueBytes, 2 ** 21),
  };
}
