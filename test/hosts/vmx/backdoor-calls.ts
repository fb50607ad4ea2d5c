/** Backdoor calls other than messages, as the host answers them; vmware.md sections 1.1, 1.3 and 10. */
import type { Channels } from './channels.ts';
import {
  COMMAND,
  GUI_OPTION_TIME_SYNC,
  lowHalf,
  MAGIC,
  PORT_LOW,
  type Registers,
  UNKNOWN_COMMAND,
} from './registers.ts';

/** The host's clock as the guest may read it. */
export interface HostClock {
  /** Microseconds since 1970, UTC. */
  nowUs: () => bigint;
  /** Below this error the host wants no step. */
  maxLagUs: number;
  /** How far the guest's interrupts lag behind. */
  lagUs: number;
  /** The newest of the three commands that the host knows; null: none works. */
  newest: 'GETTIMEFULL_WITH_LAG' | 'GETTIMEFULL' | 'GETTIME' | null;
}

export interface BackdoorHost {
  readonly clock: HostClock;
  /** 1 Express, 2 ESX, 3 Server, 4 Workstation. */
  product: number;
  timeSync: boolean;
  /** Times that the guest has said it set its clock (STOPCATCHUP). */
  stopCatchUps: number;
  /** Commands seen, by number. */
  readonly seen: Map<number, number>;
}

export function createBackdoorHost(): BackdoorHost {
  return {
    clock: {
      nowUs: () => BigInt(Date.now()) * 1000n,
      maxLagUs: 1_000_000,
      lagUs: 0,
      newest: 'GETTIMEFULL_WITH_LAG',
    },
    product: 2,
    timeSync: false,
    stopCatchUps: 0,
    seen: new Map(),
  };
}

const PROTOCOL_VERSION = 6;
const UUID = [0x564d6364, 0x11223344, 0x55667788, 0x99aabbcc] as const;

/** The answer to one low-bandwidth call; null: not a backdoor call, the fault is the program's own. */
export function lowBandwidthCall(
  host: BackdoorHost,
  channels: Channels,
  call: Registers,
  privileged: boolean,
): Registers | null {
  // a hypercall carries 0 instead of the port
  if (call.ax !== MAGIC || (lowHalf(call.dx) !== PORT_LOW && lowHalf(call.dx) !== 0)) return null;
  const command = lowHalf(call.cx);
  host.seen.set(command, (host.seen.get(command) ?? 0) + 1);
  switch (command) {
    case COMMAND.GETMHZ:
      return { ...call, ax: 2400 };
    case COMMAND.GETVERSION:
      return { ...call, ax: PROTOCOL_VERSION, bx: MAGIC, cx: host.product };
    case COMMAND.GETGUIOPTIONS:
      return { ...call, ax: host.timeSync ? GUI_OPTION_TIME_SYNC : 0 };
    case COMMAND.SETGUIOPTIONS:
      host.timeSync = (call.bx & GUI_OPTION_TIME_SYNC) !== 0;
      return { ...call, ax: 0 };
    case COMMAND.GETUUID:
      return { ...call, ax: UUID[0], bx: UUID[1], cx: UUID[2], dx: UUID[3] };
    case COMMAND.GETTIME:
    case COMMAND.GETTIMEFULL:
    case COMMAND.GETTIMEFULL_WITH_LAG:
      return hostTime(host.clock, command, call);
    case COMMAND.STOPCATCHUP:
      host.stopCatchUps += 1;
      return call;
    case COMMAND.MESSAGE:
      return channels.message(call, privileged);
    case COMMAND.GETHZ:
      return { ...call, ax: 2_400_000_000, bx: 0 };
    case COMMAND.GET_VCPU_INFO:
      return { ...call, ax: 0 };
    default:
      return { ...call, ax: UNKNOWN_COMMAND };
  }
}

function hostTime(clock: HostClock, command: number, call: Registers): Registers {
  const generations: number[] = [COMMAND.GETTIME, COMMAND.GETTIMEFULL, COMMAND.GETTIMEFULL_WITH_LAG];
  const newest = clock.newest === null ? -1 : generations.indexOf(COMMAND[clock.newest]);
  if (generations.indexOf(command) > newest) return { ...call, ax: UNKNOWN_COMMAND };
  const nowUs = clock.nowUs();
  const seconds = nowUs / 1_000_000n;
  const bx = Number(nowUs % 1_000_000n);
  const cx = clock.maxLagUs;
  if (command === COMMAND.GETTIME) return { ...call, ax: Number(BigInt.asUintN(32, seconds)), bx, cx, dx: 0 };
  return {
    ...call,
    ax: MAGIC,
    bx,
    cx,
    dx: Number(BigInt.asUintN(32, seconds)),
    si: Number(BigInt.asUintN(32, seconds >> 32n)),
    di: command === COMMAND.GETTIMEFULL_WITH_LAG ? clock.lagUs : call.di,
  };
}
