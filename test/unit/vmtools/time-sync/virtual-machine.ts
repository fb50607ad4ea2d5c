/** A guest's clock beside the simulated host's: both go on by hand, the guest's at the rate that it has been given. */
import {
  createTimeSync,
  type TimeSyncOptions,
} from '../../../../src/protocols/vmtools/time-sync/time-sync.ts';
import { createVmx, type Vmx } from '../../../hosts/vmx/vmx.ts';
import { recordingLog } from '../../../support/quiet-log.ts';
import { simulatedBackdoor } from '../../../support/simulated-backdoor.ts';

export interface VirtualMachine {
  readonly vmx: Vmx;
  readonly timeSync: ReturnType<typeof createTimeSync>;
  readonly log: ReturnType<typeof recordingLog>;
  /** What was done to the guest's clock. */
  readonly done: (['set', number] | ['tick', number])[];
  /** Guest less host, in seconds. */
  offset(): number;
  setOffset(seconds: number): void;
  advance(seconds: number): void;
  /** A command of the host; its reply. */
  command(name: string, argument?: string): Promise<string>;
  /** Set: what the next actions give, or (an Error) throw. */
  failure: number | Error | null;
}

const START_US = 1_795_576_000_000_000n;

export function virtualMachine(
  options: Partial<Pick<TimeSyncOptions, 'compat' | 'backwardAllowed'>> & {
    offsetSeconds?: number;
    tick?: number;
    isDisciplined?: boolean;
  } = {},
): VirtualMachine {
  const vmx = createVmx();
  const log = recordingLog();
  const done: VirtualMachine['done'] = [];
  const timers = new Set<{ atUs: bigint; callback: () => void }>();
  let hostUs = START_US;
  let guestUs = START_US + BigInt(Math.round((options.offsetSeconds ?? 0) * 1e6));
  let tick = options.tick ?? 10_000;
  vmx.host.clock.nowUs = () => hostUs;

  function go(us: bigint): void {
    hostUs += us;
    guestUs += (us * BigInt(tick)) / 10_000n;
  }

  function result(): number {
    if (machine.failure instanceof Error) throw machine.failure;
    return machine.failure ?? 0;
  }

  const timeSync = (): VirtualMachine['timeSync'] =>
    createTimeSync({
      backdoor: simulatedBackdoor(vmx.backdoor),
      clock: {
        now: () => guestUs * 1000n,
        rate: () => ({ tick, isDisciplined: options.isDisciplined ?? false }),
      },
      actions: {
        setRealTimeClock(nanoseconds) {
          const failed = result();
          if (failed !== 0) return failed;
          done.push(['set', Number(nanoseconds / 1000n - guestUs) / 1e6]);
          guestUs = nanoseconds / 1000n;
          return 0;
        },
        setClockTick(wanted) {
          const failed = result();
          if (failed !== 0) return failed;
          done.push(['tick', wanted]);
          tick = wanted;
          return 0;
        },
      },
      log,
      compat: options.compat ?? 'chr',
      backwardAllowed: options.backwardAllowed ?? false,
      setTimer(callback, delayMs) {
        const timer = { atUs: hostUs + BigInt(Math.round(delayMs * 1000)), callback };
        timers.add(timer);
        return () => timers.delete(timer);
      },
    });

  const machine: Omit<VirtualMachine, 'timeSync'> = {
    vmx,
    log,
    done,
    failure: null,
    offset: () => Number(guestUs - hostUs) / 1e6,
    setOffset(seconds) {
      guestUs = hostUs + BigInt(Math.round(seconds * 1e6));
    },
    advance(seconds) {
      const endUs = hostUs + BigInt(Math.round(seconds * 1e6));
      for (;;) {
        const [due] = [...timers].filter(({ atUs }) => atUs <= endUs).sort((a, b) => Number(a.atUs - b.atUs));
        if (due === undefined) break;
        timers.delete(due);
        go(due.atUs - hostUs);
        due.callback();
      }
      go(endUs - hostUs);
    },
    async command(name, argument = '') {
      const reply = await whole.timeSync.commands[name]?.(Buffer.from(argument));
      if (reply === undefined || Buffer.isBuffer(reply)) return String(reply);
      return `${reply.ok ? 'OK' : 'ERROR'} ${reply.result}`;
    },
  };
  const whole: VirtualMachine = Object.assign(machine, { timeSync: timeSync() });
  return whole;
}
