/**
 * The shaper: holds every hardware-backed interface to the license level's rate. Level-triggered: whatever happens, it looks
 * at what is there and repairs it; at once when the kernel tells of a change, and every 30 s in any case. What it has put
 * there stays when the daemon ends.
 */

import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import type { Actions } from '../guest/actions.ts';
import type { FreezeGate } from '../guest/freeze-gate.ts';
import { type NetworkChange, watchNetwork } from '../guest/network-events.ts';
import { namespaceIdOf } from '../guest/traffic-control.ts';
import type { Level } from '../license/levels.ts';
import type { Log } from '../log.ts';
import type { NativeAddon } from '../native/addon.ts';
import type { ReportClock } from '../report-clock.ts';
import { type EnforcementOptions, enforce, type NotEnforced, type ShapedInterface } from './enforcement.ts';
import { type HardwareEvidence, kernelNamesParents } from './interfaces.ts';
import { type NetworkNamespace, openNamespace, otherNetworkNamespaces } from './namespaces.ts';
import { createPacer, createRepairBudget } from './pacing.ts';
import { createInterfaceLog, type ShaperInterface, type ShaperStatus } from './shaper-status.ts';

export interface Shaper {
  setLevel(level: Level): void;
  setPatterns(patterns: readonly string[]): void;
  /** Looks at everything first, unless file systems are frozen. */
  status(): Promise<ShaperStatus>;
  /** Leaves the limits where they are. */
  close(): void;
}

export interface ShaperOptions {
  readonly native: NativeAddon;
  readonly actions: Pick<Actions, 'changeQdisc' | 'qdiscRefusal'>;
  readonly log: Log;
  readonly gate: FreezeGate;
  readonly clock: ReportClock;
  /** null: not known yet. */
  readonly level: Level | null;
  /** Globs over interface names. */
  readonly patterns: readonly string[];
  /** Prefix of /proc and /sys, for tests. */
  readonly root?: string;
}

/** Between two looks at the own namespace, and between two searches of all processes for other ones. */
const OWN_SPACING_MS = 50;
const SEARCH_SPACING_MS = 400;
const OWN = 'own';
const MOVED_AWAY: NotEnforced = {
  state: 'not enforced',
  kind: 'problem',
  reason: 'its network namespace was not found',
};

export function createShaper(options: ShaperOptions): Shaper {
  const { native, log, gate, clock, root = '/' } = options;
  let { level, patterns } = options;
  const enforcing: EnforcementOptions = {
    native,
    actions: options.actions,
    log,
    budget: createRepairBudget(),
    leaf: { best: 'fq_codel' },
  };
  const interfaceLog = createInterfaceLog(log);
  /** By the namespace's identity; {@link OWN}. */
  const found = new Map<string, { label: string | null; id: number | null; interfaces: ShapedInterface[] }>();
  /** Namespaces that could not be looked at, with the reason. */
  const unseen = new Map<string, string>();
  /** Interfaces that left the own namespace, by the new one's id and their index there, until they are found again. */
  const moved = new Map<string, { name: string; namespaceId: number; index: number; isMissing: boolean }>();
  let isOpen = true;

  const own = createPacer(OWN_SPACING_MS, lookAtOwn);
  const search = createPacer(SEARCH_SPACING_MS, () => {
    searchOthers().catch((error: unknown) => log.error(`shaper: ${describeError(error)}`));
  });
  const watch = watchNetwork({
    native,
    log,
    groups: ['links', 'qdiscs'],
    allNamespaces: true,
    onChange,
  });
  const stopTicks = clock.onTick(lookAtAll);
  const stopThaws = gate.onThaw(lookAtAll);
  lookAtOwn();
  search.request();

  function lookAtAll(): void {
    own.request();
    search.request();
  }

  function onChange(changes: readonly NetworkChange[]): void {
    for (const change of changes) {
      if (change.subject === 'everything') {
        lookAtAll();
      } else if (change.namespaceId !== null) {
        if (change.removed && change.subject === 'links')
          moved.delete(`${change.namespaceId} ${change.linkIndex}`);
        search.request();
      } else {
        own.request();
        if (change.removed && change.subject === 'links') noteRemoval(change);
      }
    }
  }

  /** A limited interface that goes may have gone to another namespace, where nothing limits it. */
  function noteRemoval({ linkIndex, movedTo }: Exclude<NetworkChange, { subject: 'everything' }>): void {
    const gone = found.get(OWN)?.interfaces.find(({ index }) => index === linkIndex);
    if (gone === undefined) return;
    search.request();
    if (movedTo === null) return;
    const { namespaceId, linkIndex: index } = movedTo;
    moved.set(`${namespaceId} ${index}`, { name: gone.name, namespaceId, index, isMissing: false });
  }

  function lookAtOwn(): void {
    if (!isOpen) return;
    look(OWN, null, null, (delayMs) => own.requestIn(delayMs));
    interfaceLog.update(list());
  }

  function look(
    identity: string,
    namespace: { fd: number; label: string; identity: string } | null,
    id: number | null,
    lookAgainIn: (delayMs: number) => void,
  ): void {
    try {
      const interfaces = enforce(enforcing, {
        namespace,
        level,
        patterns,
        evidence: evidence(namespace === null),
        lookAgainIn,
      });
      found.set(identity, { label: namespace?.label ?? null, id, interfaces });
      unseen.delete(identity);
    } catch (error) {
      const label = namespace === null ? 'the own network namespace' : namespace.label;
      const text = `${label}: ${describeError(error)}`;
      if (unseen.get(identity) !== text) log.warning(`shaper: ${text}`);
      unseen.set(identity, text);
      found.delete(identity);
    }
  }

  function evidence(isOwn: boolean): HardwareEvidence {
    const known = found.get(OWN)?.interfaces;
    return {
      kernelNamesParents: kernelNamesParents(release()),
      hasSysfsDevice(name) {
        if (!isOwn) return null;
        if (gate.frozen) return known?.some((one) => one.name === name) ?? false;
        return existsSync(join(root, 'sys/class/net', name, 'device'));
      },
    };
  }

  let searching: Promise<void> | undefined;

  /** One at a time; begins when no file system is frozen. */
  function searchOthers(): Promise<void> {
    searching ??= gate
      .pass(async () => {
        const sought = [...moved.values()];
        const others = await otherNetworkNamespaces(root);
        for (const each of isOpen ? others : []) lookInto(each);
        forgetAllBut(new Set(others.map(({ identity }) => identity)));
        for (const one of sought) one.isMissing = true;
      })
      .finally(() => {
        searching = undefined;
        if (isOpen) interfaceLog.update(list());
      });
    return searching;
  }

  function lookInto(other: NetworkNamespace): void {
    using open = openNamespace(other);
    if (open === null) return;
    const id = namespaceIdOf(native, open.fd);
    look(other.identity, { ...other, fd: open.fd }, id, (delayMs) => search.requestIn(delayMs));
    for (const [key, one] of moved) if (one.namespaceId === id) moved.delete(key);
  }

  function forgetAllBut(identities: ReadonlySet<string>): void {
    for (const map of [found, unseen])
      for (const identity of map.keys())
        if (identity !== OWN && !identities.has(identity)) map.delete(identity);
    const keys = [...found].flatMap(([identity, { interfaces }]) =>
      interfaces.map(({ index }) => `${identity === OWN ? '' : identity} ${index}`),
    );
    enforcing.budget.keep(new Set(keys));
  }

  function list(): ShaperInterface[] {
    const here = [...found.values()].flatMap(({ label, interfaces }) =>
      interfaces.map((one) => ({ ...one, namespace: label })),
    );
    const elsewhere = [...moved.values()].filter(({ isMissing }) => isMissing);
    return [
      ...here,
      ...elsewhere.map(({ name, namespaceId, index }) => ({
        name,
        index,
        namespace: `id ${namespaceId}`,
        enforcement: MOVED_AWAY,
        counters: null,
      })),
    ];
  }

  return {
    setLevel(next) {
      if (next === level) return;
      level = next;
      enforcing.budget.keep(new Set());
      lookAtOwn();
      search.request();
    },
    setPatterns(next) {
      patterns = next;
      lookAtAll();
    },
    async status() {
      lookAtOwn();
      if (!gate.frozen) await searchOthers();
      return { state: 'on', level, interfaces: list(), unseen: [...unseen.values()] };
    },
    close() {
      isOpen = false;
      watch?.close();
      own.close();
      search.close();
      stopTicks();
      stopThaws();
    },
  };
}

function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
