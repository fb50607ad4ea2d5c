/**
 * Guest information for the host (spec/xenstore.md section 5; chr-wiki.txt "Guest info"): every 30 s, and at once when the network changes.
 * Only what differs from what is in the store is written; after a resume that is read again.
 */
import type { FreezeGate } from '../../guest/freeze-gate.ts';
import type { Log } from '../../log.ts';
import { monotonicMs } from '../../native/monotonic.ts';
import type { ReportClock } from '../../report-clock.ts';
import { createCollector, type PublishedGuest, type SlowFacts } from './collector.ts';
import { domainIdentity } from './domain.ts';
import { keysOf, OWN_KEY, type PublishedVolume, removalsOf, UPDATED_KEY, updatedValue } from './keys.ts';
import { readOwnKeys } from './own-keys.ts';
import { isDenied, isNoRoom, readIfThere } from './refusals.ts';
import { createRounds } from './rounds.ts';
import { functionMacs, virtualFunctions, virtualInterfaces } from './vifs.ts';
import { createBackends } from './volumes.ts';
import type { Xenstore } from './xenstore.ts';

export interface PublisherOptions {
  store: Xenstore;
  guest: PublishedGuest;
  gate: FreezeGate;
  clock: ReportClock;
  log: Log;
  agentVersion: string;
  /** null: the key is left alone. */
  featureBalloon: boolean | null;
  /** Calls back after changes of links or addresses. @returns the way to stop that */
  onNetworkChange(listener: () => void): () => void;
  now?: () => Date;
  /** After a failure of the store. */
  retryMs?: number;
}

export interface Publisher {
  /** Leaves the keys as they are. Never rejects. */
  stop(): Promise<void>;
}

/** A guest may own 1000 nodes, folders too, and needs some for other things. */
const MOST_KEYS = 500;
/** A network that changes all the time is looked at so often. */
const NETWORK_PAUSE_MS = 250;
const FAREWELL_MS = 1_000;

export async function startPublisher(options: PublisherOptions): Promise<Publisher> {
  const { store, guest, gate, log, now = () => new Date() } = options;
  const collector = createCollector(guest, log);
  const rounds = createRounds({
    name: 'guest information',
    round,
    log,
    ...(options.retryMs !== undefined && { firstRetryMs: options.retryMs }),
  });
  /** What is in the store; null: to be read. */
  let known: Map<string, string> | null = null;
  let identity = '';
  /** Something was changed that {@link UPDATED_KEY} does not tell yet. */
  let hasNews = false;
  /** Not tried again in this domain. */
  const denied = new Set<string>();
  const logged = new Set<string>();
  let backends = createBackends(store);
  let macs = new Map<string, number>();
  let slow: SlowFacts | null = null;
  let networkTimer: NodeJS.Timeout | undefined;
  let networkReadMs = Number.NEGATIVE_INFINITY;

  async function round(): Promise<void> {
    if (gate.frozen) return;
    const current = await currentKeys();
    const facts = slow ?? (await slowFacts());
    const volumes = await backends.name(facts.volumes);
    // the thaw has a round of its own
    if (gate.frozen) return;
    const wanted = wantedKeys({ ...facts, volumes });
    hasNews = (await update(current, wanted)) || hasNews;
    if (!hasNews) return;
    // also if it reads the same: it is the write that readers notice
    await write(UPDATED_KEY, updatedValue(now()));
    hasNews = false;
  }

  async function slowFacts(): Promise<SlowFacts> {
    const [facts, found] = await Promise.all([gate.pass(() => collector.slow()), functionMacs(store)]);
    slow = facts;
    macs = found;
    return facts;
  }

  /** Of the domain that this is now. */
  async function currentKeys(): Promise<Map<string, string>> {
    const [domain, own] = await Promise.all([domainIdentity(store), readIfThere(store, OWN_KEY)]);
    const isGone = own === null && known?.has(OWN_KEY) === true;
    if (known === null || domain !== identity || isGone) {
      identity = domain;
      denied.clear();
      backends = createBackends(store);
      slow = null;
      known = await readOwnKeys(store);
    }
    return known;
  }

  function wantedKeys(facts: SlowFacts & { volumes: PublishedVolume[] }): Map<string, string> {
    networkReadMs = monotonicMs();
    const interfaces = collector.interfaces();
    const keys = keysOf({
      ...facts,
      agentVersion: options.agentVersion,
      featureBalloon: options.featureBalloon,
      vifs: virtualInterfaces(interfaces, (name) => guest.xenVifNumber(name)),
      virtualFunctions: virtualFunctions(interfaces, macs),
    });
    if (keys.size <= MOST_KEYS) return keys;
    logOnce(`there are ${keys.size} keys, of which ${MOST_KEYS} are published`, 'count');
    return new Map([...keys].slice(0, MOST_KEYS));
  }

  /** Brings the store to `wanted`. @returns whether anything was changed */
  async function update(current: Map<string, string>, wanted: ReadonlyMap<string, string>): Promise<boolean> {
    const gone = [...current.keys()].filter((path) => !wanted.has(path) && isManaged(path));
    const removed = [...removalsOf(gone, wanted)].map((path) => remove(current, path));
    const written = [...wanted].map(([path, value]) => put(current, path, value));
    return (await Promise.all([...removed, ...written])).includes(true);
  }

  /** What is not configured may be somebody else's. */
  function isManaged(path: string): boolean {
    return options.featureBalloon !== null || !path.startsWith('control/');
  }

  async function put(current: Map<string, string>, path: string, value: string): Promise<boolean> {
    if (current.get(path) === value || !(await write(path, value))) return false;
    current.set(path, value);
    return true;
  }

  async function write(path: string, value: string): Promise<boolean> {
    if (denied.has(path)) return false;
    try {
      await store.write(path, value);
      return true;
    } catch (error) {
      refused(path, error);
      return false;
    }
  }

  async function remove(current: Map<string, string>, path: string): Promise<boolean> {
    if (denied.has(path)) return false;
    try {
      await store.remove(path);
    } catch (error) {
      refused(path, error);
      return false;
    }
    for (const each of [...current.keys()]) {
      if (each === path || each.startsWith(`${path}/`)) current.delete(each);
    }
    return true;
  }

  /** The other keys go on. */
  function refused(path: string, error: unknown): void {
    if (isDenied(error)) {
      denied.add(path);
      logOnce(`the host does not let this guest write ${path}`, `denied ${kindOf(path)}`);
    } else if (isNoRoom(error)) {
      logOnce(`the store has no room for ${path}: ${error.message}`, `${error.code} ${kindOf(path)}`);
    } else {
      throw error;
    }
  }

  function logOnce(text: string, kind: string): void {
    if (!logged.has(kind)) log.warning(`${text}`);
    logged.add(kind);
  }

  function wakeFully(): void {
    slow = null;
    rounds.wake();
  }

  function noteNetworkChange(): void {
    const pauseMs = Math.max(0, networkReadMs + NETWORK_PAUSE_MS - monotonicMs());
    networkTimer ??= setTimeout(() => {
      networkTimer = undefined;
      rounds.wake();
    }, pauseMs).unref();
  }

  // it never changes in a domain: an event means a resume, or a connection made anew
  const watch = await store.watch('unique-domain-id', () => {
    known = null;
    rounds.wake();
  });
  const stops = [
    options.clock.onTick(wakeFully),
    gate.onThaw(wakeFully),
    options.onNetworkChange(noteNetworkChange),
  ];

  return {
    async stop() {
      for (const stop of stops) stop();
      clearTimeout(networkTimer);
      await watch.close();
      await rounds.stop(FAREWELL_MS);
    },
  };
}

/** `attr/vif`, `data/volumes`, `control/feature-balloon`: each is refused for a reason of its own. */
const kindOf = (path: string) => path.split('/', 2).join('/').replace(/\d+$/, '');
