/** One look at one network namespace: what its interfaces have is compared with what they must have, and repaired. */
import type { Actions } from '../guest/actions.ts';
import type { Link } from '../guest/linux/netlink.ts';
import { parseTbf, type Qdisc, type QdiscStatistics } from '../guest/linux/netlink-tc.ts';
import { readTrafficControl } from '../guest/traffic-control.ts';
import type { Level } from '../license/levels.ts';
import type { Log } from '../log.ts';
import type { NativeAddon } from '../native/addon.ts';
import { type HardwareEvidence, selectInterface } from './interfaces.ts';
import { LIMITS, limitSizes } from './limits.ts';
import type { RepairBudget } from './pacing.ts';
import { leafOf, ourLimit, rootOf } from './qdisc.ts';
import { createQdiscRequester, ENODEV, type KnownLeaf, needsRepair, QdiscError, repair } from './repair.ts';

export type Enforcement =
  | { readonly state: 'limited'; readonly limitBitsPerSecond: number; readonly leaf: string }
  | { readonly state: 'unlimited' }
  | NotEnforced;

export interface NotEnforced {
  readonly state: 'not enforced';
  /** `chosen`: by the configuration or for this run; anything else is a `problem`. */
  readonly kind: 'chosen' | 'problem';
  readonly reason: string;
}

/** An interface that is the shaper's business. */
export interface ShapedInterface {
  readonly name: string;
  readonly index: number;
  readonly enforcement: Enforcement;
  /** Of the limit, since it was put there; null without one. */
  readonly counters: QdiscStatistics | null;
}

export interface EnforcementOptions {
  readonly native: NativeAddon;
  readonly actions: Pick<Actions, 'changeQdisc' | 'qdiscRefusal'>;
  readonly log: Log;
  readonly budget: RepairBudget;
  readonly leaf: KnownLeaf;
}

export interface Look {
  /** null: the own namespace. */
  readonly namespace: { readonly fd: number; readonly label: string; readonly identity: string } | null;
  /** null: not known yet. A limit of ours stays as it is then, and who has none gets the lowest. */
  readonly level: Level | null;
  readonly patterns: readonly string[];
  readonly evidence: HardwareEvidence;
  /** To be called when a repair was put off by that long. */
  readonly lookAgainIn: (delayMs: number) => void;
}

/** @throws {NetworkFactsError} if the namespace cannot be looked at */
export function enforce(options: EnforcementOptions, look: Look): ShapedInterface[] {
  const namespaceFd = look.namespace?.fd ?? null;
  const before = readTrafficControl(options.native, namespaceFd);
  const concerned = before.links.flatMap((link) => {
    const selection = selectInterface(link, look.patterns, look.evidence);
    return selection === 'not concerned' ? [] : [{ link, selection }];
  });
  if (concerned.length === 0) return [];
  const refusal = options.actions.qdiscRefusal(namespaceFd);
  const problems = new Map<number, NotEnforced>();
  let hasChanged = false;
  for (const { link, selection } of concerned) {
    if (selection === 'excluded') {
      problems.set(link.index, notEnforced('chosen', 'left out by the configuration (shaper.interfaces)'));
    } else if (refusal !== null) {
      problems.set(link.index, notEnforced('chosen', `this run may not ${refusal}`));
    } else {
      const outcome = enforceOn(options, look, link, before.qdiscs.get(link.index) ?? []);
      if (outcome.problem !== null) problems.set(link.index, outcome.problem);
      hasChanged ||= outcome.hasChanged;
    }
  }
  const after = hasChanged ? readTrafficControl(options.native, namespaceFd) : before;
  return concerned.map(({ link: { name, index } }) => {
    const qdiscs = after.qdiscs.get(index) ?? [];
    return {
      name,
      index,
      enforcement: describe(qdiscs, look.level, problems.get(index) ?? null),
      counters: ourLimit(qdiscs)?.statistics ?? null,
    };
  });
}

function describe(qdiscs: readonly Qdisc[], level: Level | null, problem: NotEnforced | null): Enforcement {
  if (problem !== null) return problem;
  const present = ourLimit(qdiscs);
  const limit = present === null ? null : parseTbf(present.options);
  if (limit !== null) {
    const leaf = leafOf(qdiscs)?.kind ?? 'none';
    return { state: 'limited', limitBitsPerSecond: limit.rateBytesPerSecond * 8, leaf };
  }
  if (level !== null && LIMITS[level] === null) return { state: 'unlimited' };
  return notEnforced('problem', 'something else was put in its place');
}

function notEnforced(kind: NotEnforced['kind'], reason: string): NotEnforced {
  return { state: 'not enforced', kind, reason };
}

interface Outcome {
  readonly hasChanged: boolean;
  readonly problem: NotEnforced | null;
}

const DONE: Outcome = { hasChanged: false, problem: null };

function enforceOn(options: EnforcementOptions, look: Look, link: Link, qdiscs: readonly Qdisc[]): Outcome {
  const { native, actions, log, budget, leaf } = options;
  const { namespace } = look;
  const before = ourLimit(qdiscs);
  if (look.level === null && before !== null) return DONE;
  const bitsPerSecond = LIMITS[look.level ?? 'free'];
  const sizes = bitsPerSecond === null ? null : limitSizes(bitsPerSecond, link.mtu);
  if (!needsRepair(link.index, qdiscs, sizes, leaf.best)) return DONE;

  const name = namespace === null ? link.name : `${link.name} (in ${namespace.label})`;
  const permission = budget.ask(`${namespace?.identity ?? ''} ${link.index}`);
  if (permission.kind === 'later') {
    look.lookAgainIn(permission.delayMs);
    if (permission.isFirst)
      log.warning(`shaper: ${name}: something keeps changing its queueing, repairs are put off`);
    return { hasChanged: false, problem: notEnforced('problem', 'something keeps changing its queueing') };
  }
  try {
    const request = createQdiscRequester(native, actions, namespace?.fd ?? null);
    if (!repair(request, link.index, qdiscs, sizes, leaf)) return DONE;
    if (bitsPerSecond === null) {
      log.info(`shaper: ${name}: the limit is taken away`);
    } else {
      const was = before === null ? (rootOf(qdiscs)?.kind ?? 'nothing') : 'a limit of ours';
      log.info(`shaper: ${name}: limited to ${bitsPerSecond / 1e6} Mbit/s (${was} was there)`);
    }
    return { hasChanged: true, problem: null };
  } catch (error) {
    if (!(error instanceof QdiscError)) throw error;
    // it went away between the look and the change
    const reason = error.errno === ENODEV ? 'it is gone' : error.message;
    return { hasChanged: true, problem: notEnforced('problem', reason) };
  }
}
