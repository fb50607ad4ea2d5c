/**
 * What to do about a clock that differs from the host's: chr-wiki.txt ("Time synchronization") for `chr`, spec vmware.md section 10
 * for `upstream`. Pure.
 */
import type { Sample } from './sample.ts';
import { nominalTick, type SlewPlan, slewGently, slewPart } from './slew.ts';

export type Correction =
  /** Nothing needs doing; what is being slewed is done. */
  | { readonly kind: 'none' }
  /** Sets the clock to `-differenceUs` from where it is. */
  | { readonly kind: 'step'; readonly differenceUs: number }
  | { readonly kind: 'slew'; readonly plan: SlewPlan }
  /** It is ahead by more than can be slewed, and may not be stepped back. */
  | { readonly kind: 'too-far-ahead'; readonly errorUs: number };

export interface Wish {
  /** A step because somebody asked, or one of the rounds of the periodic synchronisation. */
  readonly occasion: 'request' | 'period';
  /** The host has said of this request that the clock may go backwards. */
  readonly backward: boolean;
}

export interface PolicySettings {
  readonly compat: 'chr' | 'upstream';
  /** `vmtools.time-sync-backward`. */
  readonly backwardAllowed: boolean;
  /** The host's `slewCorrection`: errors too small for a step are slewed too. */
  readonly slewCorrection: boolean;
  /** The part of the error that a period slews away, 1 to 100. */
  readonly slewPercent: number;
  readonly periodMs: number;
}

/** What is farther ahead is no drift: somebody has set one of the clocks. */
const MAX_SLEW_US = 5_000_000;
/** Below this a difference is no better known than that. */
const INDISTINCT_US = 10_000;
/** The host's limit holds as well as both clocks can be read: a busy host answers late, and some count milliseconds. */
const LIMIT_TOLERANCE = 0.9;

const NONE: Correction = { kind: 'none' };

export function decide(sample: Sample, wish: Wish, settings: PolicySettings): Correction {
  return settings.compat === 'upstream'
    ? decideUpstream(sample, wish, settings)
    : decideChr(sample, wish, settings);
}

function decideChr(sample: Sample, wish: Wish, settings: PolicySettings): Correction {
  const { errorUs, differenceUs, maxErrorUs } = sample;
  if (errorUs < 0) {
    const isBehind = errorUs <= -maxErrorUs * LIMIT_TOLERANCE && errorUs <= -INDISTINCT_US;
    if (isBehind) return { kind: 'step', differenceUs };
    return settings.slewCorrection ? partOf(sample, settings) : NONE;
  }
  if (errorUs < INDISTINCT_US) return NONE;
  if (wish.backward) return differenceUs > 0 ? { kind: 'step', differenceUs } : NONE;
  if (errorUs <= MAX_SLEW_US) {
    const isByHost = settings.slewCorrection && wish.occasion === 'period';
    return isByHost ? partOf(sample, settings) : { kind: 'slew', plan: slewGently(errorUs) };
  }
  return settings.backwardAllowed && differenceUs > 0
    ? { kind: 'step', differenceUs }
    : { kind: 'too-far-ahead', errorUs };
}

function decideUpstream(sample: Sample, wish: Wish, settings: PolicySettings): Correction {
  const { errorUs, differenceUs, maxErrorUs } = sample;
  if (errorUs < -maxErrorUs) return { kind: 'step', differenceUs };
  const isBackward = wish.backward || settings.backwardAllowed;
  if (differenceUs > 0 && isBackward && wish.occasion === 'request') return { kind: 'step', differenceUs };
  const isSlewed = wish.occasion === 'period' && settings.slewCorrection && sample.hasLag;
  return isSlewed ? partOf(sample, settings) : NONE;
}

function partOf({ errorUs }: Sample, { slewPercent, periodMs }: PolicySettings): Correction {
  const plan = slewPart(errorUs, slewPercent, periodMs);
  return plan.tick === nominalTick ? NONE : { kind: 'slew', plan };
}
