/** When guest information is reported: one report at a time, none while file systems are frozen (spec vmware.md section 6.3). */
import type { FreezeGate } from '../../../guest/freeze-gate.ts';
import type { Log } from '../../../log.ts';
import type { ReportClock } from '../../../report-clock.ts';
import { type SetTimer, setRealTimer } from '../timer.ts';
import type { ToolsConfFile } from '../tools-conf.ts';

export type Subject = 'everything' | 'network' | 'statistics';

export interface RhythmOptions {
  readonly gate: FreezeGate;
  readonly clock: ReportClock;
  readonly compat: 'chr' | 'upstream';
  readonly toolsConf: ToolsConfFile;
  readonly log: Log;
  /** Never rejects. */
  report(subjects: ReadonlySet<Subject>): Promise<void>;
  onNetworkChange(listener: () => void): () => void;
  readonly setTimer?: SetTimer;
}

export interface Rhythm {
  /** The first report: as soon as no other is under way, and nothing is frozen. */
  begin(): void;
  stop(): void;
}

/** Addresses come one by one. */
const NETWORK_PAUSE_MS = 500;
/** open-vm-tools' timers. */
const POLL_TIMER = { key: 'poll-interval', subject: 'everything', defaultSeconds: 30 } as const;
const STATISTICS_TIMER = { key: 'stats-interval', subject: 'statistics', defaultSeconds: 20 } as const;
const TIMERS = [POLL_TIMER, STATISTICS_TIMER];
/** A timer that is off: the configuration may switch it on again. */
const RECHECK_SECONDS = 30;
const MAX_SECONDS = 86_400;

export function createRhythm(options: RhythmOptions): Rhythm {
  const { gate, clock, compat, toolsConf, report, setTimer = setRealTimer } = options;
  const wished = new Set<Subject>();
  const timers = new Map<string, () => void>();
  let isWorking = false;
  let isStopped = false;

  /** Has a report begin as soon as none is under way, and nothing is frozen. */
  function wake(...subjects: Subject[]): void {
    for (const subject of subjects) wished.add(subject);
    if (isWorking || isStopped || gate.frozen) return;
    isWorking = true;
    void work();
  }

  async function work(): Promise<void> {
    while (wished.size > 0 && !isStopped && !gate.frozen) {
      const subjects = new Set(wished);
      wished.clear();
      await report(subjects);
    }
    isWorking = false;
  }

  function after(name: string, delayMs: number, callback: () => void): void {
    if (isStopped || timers.has(name)) return;
    const cancel = setTimer(() => {
      timers.delete(name);
      callback();
    }, delayMs);
    timers.set(name, cancel);
  }

  /** 0: never. */
  async function intervalSeconds({ key, defaultSeconds }: (typeof TIMERS)[number]): Promise<number> {
    const conf = await toolsConf.read();
    return Math.max(0, Math.min(conf.number('guestinfo', key) ?? defaultSeconds, MAX_SECONDS));
  }

  async function runTimer(timer: (typeof TIMERS)[number]): Promise<void> {
    const seconds = await intervalSeconds(timer);
    const isOn = seconds > 0;
    after(timer.key, (isOn ? seconds : RECHECK_SECONDS) * 1000, () => {
      if (isOn) wake(timer.subject);
      void runTimer(timer);
    });
  }

  async function beginUpstream(): Promise<void> {
    // who has switched the timer off wants none at all
    if ((await intervalSeconds(POLL_TIMER)) > 0) wake(POLL_TIMER.subject);
  }

  const stops = [gate.onThaw(() => wake())];
  if (compat === 'chr') {
    stops.push(clock.onTick(() => wake('everything', 'statistics')));
    stops.push(options.onNetworkChange(() => after('network', NETWORK_PAUSE_MS, () => wake('network'))));
  } else {
    for (const timer of TIMERS) void runTimer(timer);
  }

  return {
    begin() {
      if (compat === 'chr') wake('everything', 'statistics');
      else void beginUpstream();
    },
    stop() {
      isStopped = true;
      wished.clear();
      for (const stop of [...stops, ...timers.values()]) stop();
      timers.clear();
    },
  };
}
