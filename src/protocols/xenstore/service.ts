/** Xen's part of the daemon: the link to the store, and on it scripts from the host and information for it. */
import { setTimeout as delay } from 'node:timers/promises';
import type { FreezeGate } from '../../guest/freeze-gate.ts';
import type { Guest } from '../../guest/guest.ts';
import type { Log } from '../../log.ts';
import type { NativeAddon } from '../../native/index.ts';
import type { ReportClock } from '../../report-clock.ts';
import type { Jobs } from '../../scripts/job.ts';
import { type LinkState, openLink } from './link.ts';
import { openProvisionJournal } from './provision-journal.ts';
import { startProvisioner } from './provisioner.ts';
import { startPublisher } from './publisher.ts';
import { openTransport } from './transport.ts';
import { XenstoreGone } from './xenstore.ts';

export interface XenstoreServiceOptions {
  native: NativeAddon;
  log: Log;
  gate: FreezeGate;
  guest: Guest;
  scripts: Jobs;
  clock: ReportClock;
  /** The device, or a xenstored's socket; null: the device, wherever it is. */
  path: string | null;
  agentVersion: string;
  scriptTimeLimitMs: number;
  misspeltOutput: boolean;
  /** null: the key is left alone. */
  featureBalloon: boolean | null;
  runAtEveryBoot: boolean;
  /** Where output that does not fit in the store is saved whole. */
  filesDir: string;
  /** The journal of the scripts that have run; its directory exists. */
  journalFile: string;
  /** Calls back after changes of links or addresses. @returns the way to stop that */
  onNetworkChange(listener: () => void): () => void;
  onState(state: LinkState, detail: string): void;
}

export interface XenstoreService {
  /** Resolves after {@link stop}: a store that goes away is waited for. */
  readonly ended: Promise<void>;
  /** Waits for a script that runs. */
  stop(): Promise<void>;
}

/** A part that the store refuses to serve (no watch is left) is begun again. */
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;

interface Part {
  stop(): Promise<void>;
}

export function startXenstoreService(options: XenstoreServiceOptions): XenstoreService {
  const { native, gate, guest, scripts } = options;
  const log = ownLog(options.log);
  const store = openLink({ log, open: () => openTransport(native, options.path), onState: options.onState });
  const stopping = new AbortController();
  const ended = Promise.withResolvers<void>();

  const parts = [
    keepTrying('provisioning', () =>
      startProvisioner({
        store,
        scripts,
        native,
        gate,
        log,
        journal: openProvisionJournal(options.journalFile, gate, log),
        bootId: bootIdOf(guest, log),
        timeLimitMs: options.scriptTimeLimitMs,
        misspeltOutput: options.misspeltOutput,
        runAtEveryBoot: options.runAtEveryBoot,
        filesDir: options.filesDir,
      }),
    ),
    keepTrying('guest information', () =>
      startPublisher({
        store,
        guest,
        gate,
        clock: options.clock,
        log,
        agentVersion: options.agentVersion,
        featureBalloon: options.featureBalloon,
        onNetworkChange: options.onNetworkChange,
      }),
    ),
  ];

  /** null: stopped before it began. */
  async function keepTrying(name: string, start: () => Promise<Part>): Promise<Part | null> {
    for (
      let retryMs = FIRST_RETRY_MS;
      !stopping.signal.aborted;
      retryMs = Math.min(2 * retryMs, LAST_RETRY_MS)
    ) {
      try {
        return await start();
      } catch (error) {
        if (!(error instanceof XenstoreGone) && retryMs === FIRST_RETRY_MS)
          log.error(`${name} cannot begin, it is tried again: ${String(error)}`);
      }
      await delay(retryMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
    return null;
  }

  return {
    ended: ended.promise,
    async stop() {
      stopping.abort();
      await Promise.all(parts.map(async (part) => (await part)?.stop()));
      store.stop();
      ended.resolve();
    },
  };
}

/** Says in each line which protocol it is about. */
function ownLog(log: Log): Log {
  return {
    error: (text) => log.error(`xenstore: ${text}`),
    warning: (text) => log.warning(`xenstore: ${text}`),
    info: (text) => log.info(`xenstore: ${text}`),
    debug: (text) => log.debug(`xenstore: ${text}`),
  };
}

/** Without it every start of the daemon counts as the same boot. */
function bootIdOf(guest: Guest, log: Log): string {
  try {
    return guest.bootId();
  } catch (error) {
    log.warning(`${String(error)}`);
    return '';
  }
}
