/**
 * Time synchronisation with the host: once when the host asks, and periodically while it has that switched on (spec vmware.md
 * sections 5 and 10, chr-wiki.txt "Time synchronization").
 */
import type { Log } from '../../../log.ts';
import { type Backdoor, COMMAND } from '../backdoor.ts';
import type { VmtoolsPart } from '../part.ts';
import { accepted, refused, type TcloReply } from '../rpc.ts';
import { type SetTimer, setRealTimer } from '../timer.ts';
import { readHostTime } from './host-time.ts';
import { type Correction, decide, type PolicySettings, type Wish } from './policy.ts';
import { takeSample } from './sample.ts';
import { createSlewer, nominalTick } from './slew.ts';

/** What of the guest is read and set. */
export interface SynchronisedClock {
  /** ns since 1970. */
  now(): bigint;
  /** `isDisciplined`: something like an NTP daemon keeps it. */
  rate(): { readonly tick: number; readonly isDisciplined: boolean };
}

/** Each 0 or -errno. @throws {ActionRefused} */
export interface ClockActions {
  setRealTimeClock(nanoseconds: bigint): number;
  setClockTick(tick: number): number;
}

export interface TimeSyncOptions {
  readonly backdoor: Pick<Backdoor, 'call'>;
  readonly clock: SynchronisedClock;
  readonly actions: ClockActions;
  readonly log: Log;
  readonly compat: 'chr' | 'upstream';
  /** `vmtools.time-sync-backward`. */
  readonly backwardAllowed: boolean;
  readonly setTimer?: SetTimer;
}

const DEFAULT_PERIOD_MS = 60_000;
const DEFAULT_PERCENT = 50;
/** What a timer can wait. */
const MAX_PERIOD_SECONDS = 2_000_000;

export function createTimeSync(options: TimeSyncOptions): Required<Omit<VmtoolsPart, 'onRegistered'>> {
  const { backdoor, clock, actions, log, compat, backwardAllowed, setTimer = setRealTimer } = options;
  let periodMs = DEFAULT_PERIOD_MS;
  let slewCorrection = false;
  let slewPercent = DEFAULT_PERCENT;
  let isEnabled = false;
  let stepsWhenEnabled = false;
  let startupBackward = false;
  let startup: 'waiting' | 'done' | 'needs-backward' = 'waiting';
  /** The host has begun anew (a resume, a restored snapshot): what it switches on may be on already. */
  let isResumed = false;
  let cancelPeriod: (() => void) | null = null;
  let isTooFarLogged = false;
  let isFailureLogged = false;

  const slewer = createSlewer({ setTick: actions.setClockTick, setTimer });
  forgetLeftSlew();

  /** A killed agent leaves the clock at the rate that it had at the moment. */
  function forgetLeftSlew(): void {
    const { tick, isDisciplined } = clock.rate();
    if (tick === nominalTick || isDisciplined) return;
    log.info(`time: the clock was left at another rate (${tick}): back to its own`);
    attempt(() => actions.setClockTick(nominalTick) >= 0);
  }

  /** @returns what was done, null if that failed */
  function synchronise(wish: Wish): Correction['kind'] | null {
    let done: Correction['kind'] | null = null;
    const isDone = attempt(() => {
      const sample = takeSample(
        () => readHostTime(backdoor),
        () => clock.now() / 1000n,
      );
      if (sample === null) throw new Error('the host tells no time');
      const correction = decide(sample, wish, settings());
      done = correction.kind;
      return apply(correction) >= 0;
    });
    return isDone ? done : null;
  }

  function settings(): PolicySettings {
    return { compat, backwardAllowed, slewCorrection, slewPercent, periodMs };
  }

  function apply(correction: Correction): number {
    if (correction.kind !== 'too-far-ahead') isTooFarLogged = false;
    switch (correction.kind) {
      case 'slew':
        return slewer.start(correction.plan);
      case 'none':
        slewer.stop();
        return 0;
      case 'step':
        slewer.stop();
        return step(correction.differenceUs);
      case 'too-far-ahead':
        slewer.stop();
        if (!isTooFarLogged)
          log.warning(
            `time: the clock is ${seconds(correction.errorUs)} s ahead of the host's: left as it is`,
          );
        isTooFarLogged = true;
        return 0;
      default:
        return correction satisfies never;
    }
  }

  function step(differenceUs: number): number {
    const result = actions.setRealTimeClock(clock.now() - BigInt(differenceUs) * 1000n);
    if (result < 0) return result;
    log.info(
      `time: the clock was ${seconds(differenceUs)} s ${differenceUs < 0 ? 'behind' : 'ahead of'} the host's: set`,
    );
    backdoor.call({ command: COMMAND.stopCatchup });
    return result;
  }

  function attempt(work: () => boolean): boolean {
    let problem = 'the clock cannot be set';
    try {
      if (work()) {
        isFailureLogged = false;
        return true;
      }
    } catch (error) {
      problem = error instanceof Error ? error.message : String(error);
    }
    if (!isFailureLogged) log.warning(`time: ${problem}`);
    isFailureLogged = true;
    return false;
  }

  function round(): void {
    cancelPeriod?.();
    cancelPeriod = setTimer(round, periodMs);
    synchronise({ occasion: 'period', backward: false });
  }

  function enable(): void {
    const isNew = !isEnabled;
    isEnabled = true;
    if (isNew ? stepsWhenEnabled : isResumed) synchronise({ occasion: 'request', backward: false });
    if (isNew || isResumed) round();
    isResumed = false;
  }

  function disable(): void {
    isEnabled = false;
    isResumed = false;
    cancelPeriod?.();
    cancelPeriod = null;
    slewer.stop();
  }

  function atStartup(): void {
    if (startup !== 'waiting') return;
    const done = synchronise({ occasion: 'request', backward: startupBackward });
    const isAhead = done === 'too-far-ahead' || done === 'slew';
    startup = isAhead && !startupBackward ? 'needs-backward' : 'done';
  }

  /** The host may say this after what it is about. */
  function allowStartupBackward(value: boolean): void {
    startupBackward = value;
    if (!value || startup !== 'needs-backward') return;
    startup = 'done';
    synchronise({ occasion: 'request', backward: true });
  }

  function setPeriod(value: string): boolean {
    if (!/^\d{1,9}$/.test(value)) return false;
    const nextMs = Math.min(Number(value), MAX_PERIOD_SECONDS) * 1000 || DEFAULT_PERIOD_MS;
    const isChanged = nextMs !== periodMs;
    periodMs = nextMs;
    if (isChanged && isEnabled) round();
    return true;
  }

  const flags: Readonly<Record<string, (value: boolean) => void>> = {
    synctime: (value) => (value ? enable() : disable()),
    'time.synchronize.tools.enable': (value) => {
      stepsWhenEnabled = value;
    },
    'time.synchronize.tools.startup': (value) => value && atStartup(),
    'time.synchronize.tools.startup.backward': allowStartupBackward,
    'time.synchronize.tools.slewCorrection': (value) => {
      slewCorrection = value;
    },
    // no NTP service is asked: what it would do is done here
    'time.synchronize.guest.resync': () => {},
  };

  return {
    commands: {
      Time_Synchronize: async (argument) => timeSynchronize(argument.toString('latin1')),
      // about precise clocks of the host's, which are not used; open-vm-tools has that switched off too
      TimeInfo_Update: async () => (compat === 'chr' ? accepted() : refused('TimeInfo not enabled')),
    },
    setOption(name, value) {
      if (name === 'synctime.period') return setPeriod(value);
      if (name === 'time.synchronize.tools.percentCorrection') {
        const percent = /^\d{1,3}$/.test(value) ? Number(value) : 0;
        slewPercent = percent >= 1 && percent <= 100 ? percent : DEFAULT_PERCENT;
        return true;
      }
      if (name === 'time.synchronize.guest.resync.timeout') return /^\d+$/.test(value);
      const set = Object.hasOwn(flags, name) ? flags[name] : undefined;
      if (set === undefined || !/^[01]$/.test(value)) return false;
      set(value === '1');
      return true;
    },
    onReset() {
      isResumed = true;
    },
    stop: disable,
  };

  function timeSynchronize(argument: string): TcloReply {
    const number = /^ *(-?\d+)(?=[ \0]|$)/.exec(argument)?.[1];
    if (number === undefined) return refused('Unable to tokenize TimeSync RPC data');
    const done = synchronise({ occasion: 'request', backward: Number(number) === 1 });
    return done === null ? refused('Unable to sync time') : accepted();
  }
}

const seconds = (us: number) => (Math.abs(us) / 1e6).toFixed(3);
