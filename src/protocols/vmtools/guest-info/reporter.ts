/**
 * Guest information for the host (spec vmware.md section 6.3; chr-wiki.txt, "Guest info"): whole once the host has asked for the
 * capabilities, then every 30 s what has changed. In `upstream` by open-vm-tools' two timers.
 */
import type { FreezeGate } from '../../../guest/freeze-gate.ts';
import type { Log } from '../../../log.ts';
import { monotonicMs } from '../../../native/monotonic.ts';
import type { ReportClock } from '../../../report-clock.ts';
import { ChannelLost } from '../channel-errors.ts';
import type { VmtoolsPart } from '../part.ts';
import type { Rpci } from '../rpc.ts';
import type { SetTimer } from '../timer.ts';
import type { ToolsConfFile } from '../tools-conf.ts';
import type { ReportedDisk } from './disks.ts';
import { createFacts, type ReportedGuest } from './facts.ts';
import { createRhythm, type Subject } from './rhythm.ts';
import { createSender, TYPE } from './sender.ts';
import { type GuestInfoSettings, guestInfoSettings, readHostSettings } from './settings.ts';
import { encodeStatistics, type StatisticsSource } from './statistics.ts';

export interface GuestInfoOptions {
  readonly rpci: Rpci;
  readonly guest: ReportedGuest;
  readonly gate: FreezeGate;
  readonly clock: ReportClock;
  readonly log: Log;
  readonly compat: 'chr' | 'upstream';
  readonly toolsConf: ToolsConfFile;
  /** The agent's build number, as type 4 tells it. */
  readonly build: string;
  /** Calls back after changes of links, addresses or routes. @returns the way to stop that */
  onNetworkChange(listener: () => void): () => void;
  readonly setTimer?: SetTimer;
}

type LateDisks = Promise<ReportedDisk[] | null> | null;

/** So long the disks are waited for before the others: one may hang. */
const DISKS_FIRST_MS = 400;

export function createGuestInfo(
  options: GuestInfoOptions,
): Required<Pick<VmtoolsPart, 'setOption' | 'onRegistered' | 'onReset' | 'stop'>> {
  const { guest, gate, log, compat, toolsConf, build } = options;
  // open-vm-tools lists those without an address too
  const facts = createFacts(guest, log, compat === 'upstream');
  const rpci: Pick<Rpci, 'request'> = {
    async request(...values) {
      checkStopped();
      return options.rpci.request(...values);
    },
  };
  const sender = createSender(rpci);
  let lastStatistics: StatisticsSource | null = null;
  let isStopped = false;
  let isLossLogged = false;

  const rhythm = createRhythm({ ...options, report: guarded(report) });

  /** An error is no reason to end the rounds. */
  function guarded<Arguments extends unknown[]>(
    work: (...values: Arguments) => Promise<void>,
  ): (...values: Arguments) => Promise<void> {
    return async (...values) => {
      try {
        await work(...values);
        isLossLogged = false;
      } catch (error) {
        if (error instanceof StoppedError) return;
        const isBug = !(error instanceof ChannelLost);
        if (isBug) log.error(`guest information: ${error instanceof Error ? error.stack : String(error)}`);
        else if (!isLossLogged) log.info(`guest information: ${error.message}; it is told later`);
        isLossLogged = true;
      }
    };
  }

  async function report(subjects: ReadonlySet<Subject>): Promise<void> {
    const settings = await currentSettings();
    let late: LateDisks = null;
    if (subjects.has('everything')) ({ late } = await reportEverything(settings));
    else if (subjects.has('network')) await reportNetwork(settings);
    if (subjects.has('statistics') && settings.areStatisticsReported) await reportStatistics();
    const disks = await late;
    if (disks !== null) await sender.disks(disks);
  }

  async function currentSettings(): Promise<GuestInfoSettings> {
    const conf = await toolsConf.read();
    return guestInfoSettings(await readHostSettings(rpci), conf, compat);
  }

  /** @returns `late`: the disks that are still to be told */
  async function reportEverything(settings: GuestInfoSettings): Promise<{ late: LateDisks }> {
    const reading = settings.areDisksReported ? gate.pass(() => facts.disks(settings)) : null;
    await sender.text(TYPE.build, `build-${build}`);
    const { names, details } = await read(() => facts.os(settings));
    await sender.os(names, details);
    const disks = reading && (await within(reading, DISKS_FIRST_MS));
    if (disks !== null) await sender.disks(disks);
    await sender.text(TYPE.hostName, facts.hostname());
    await reportNetwork(settings);
    const uptime = await read(() => facts.uptimeHundredths());
    if (uptime !== null) await sender.text(TYPE.uptime, String(uptime));
    return { late: disks === null ? reading : null };
  }

  async function reportNetwork(settings: GuestInfoSettings): Promise<void> {
    const network = await read(() => facts.network(settings));
    if (network !== null) await sender.nics(network);
  }

  async function reportStatistics(): Promise<void> {
    const counters = await read(() => facts.statistics());
    if (counters === null) return;
    const now = { ...counters, atMs: monotonicMs() };
    const before = lastStatistics;
    lastStatistics = now;
    await sender.binary(TYPE.statistics, encodeStatistics(now, before));
  }

  /** What is read is read while nothing is frozen. */
  async function read<T>(facts: () => T | Promise<T>): Promise<T> {
    checkStopped();
    const value = await gate.pass(async () => facts());
    checkStopped();
    return value;
  }

  function checkStopped(): void {
    if (isStopped) throw new StoppedError();
  }

  const broadcastAddress = guarded(async () => {
    const settings = await currentSettings();
    const address = await read(() => facts.primaryAddress(settings));
    if (address !== null) await rpci.request(`info-set guestinfo.ip ${address}`);
  });

  return {
    setOption(name, value) {
      if (name !== 'broadcastIP' || !/^[01]$/.test(value)) return false;
      if (value === '1') void broadcastAddress();
      return true;
    },
    onRegistered: rhythm.begin,
    onReset: sender.forget,
    stop() {
      isStopped = true;
      rhythm.stop();
    },
  };
}

class StoppedError extends Error {
  override name = 'StoppedError';
}

/** null: not yet. */
async function within<T>(work: Promise<T>, limitMs: number): Promise<T | null> {
  const { promise, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(() => resolve(null), limitMs);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}
