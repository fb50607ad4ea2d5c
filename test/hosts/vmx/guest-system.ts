/** What the tracer tells of the guest's system: programs, and the system calls that its guard answered instead of the kernel. */
import { waiters } from './waiters.ts';

export type SystemEvent =
  | { readonly kind: 'executed'; readonly pid: number; readonly argv: readonly string[] }
  | { readonly kind: 'ended'; readonly pid: number; readonly waitStatus: number }
  | { readonly kind: 'clock-set'; readonly pid: number; readonly us: bigint }
  | {
      readonly kind: 'clock-adjusted';
      readonly pid: number;
      readonly modes: number;
      readonly offset: bigint;
      readonly frequency: bigint;
      readonly status: number;
      readonly tick: bigint;
    }
  | {
      readonly kind: 'freeze' | 'thaw';
      readonly pid: number;
      readonly path: string;
      /** 0 or a negative errno. */
      readonly result: number;
    }
  | { readonly kind: 'shutdown'; readonly pid: number; readonly argv: readonly string[] }
  | { readonly kind: 'reboot'; readonly pid: number }
  | { readonly kind: 'io-privilege'; readonly pid: number; readonly level: number }
  | {
      readonly kind: 'vsocket-bind' | 'vsocket-connect';
      readonly pid: number;
      readonly port: number;
      readonly cid: number;
    };

/** A notice as it comes over the tracer's wire. */
export interface SystemCallNotice {
  readonly number: number;
  readonly args: readonly [bigint, bigint, bigint];
  readonly result: bigint;
  readonly data: Buffer;
}

export interface GuestSystem {
  readonly events: readonly SystemEvent[];
  /** Results of FIFREEZE by path (0 or a negative errno), instead of what the kernel would say of such a file system. */
  readonly freezeResults: Map<string, number>;
  /** Paths of what counts as frozen. */
  readonly frozen: Set<string>;
  tell(event: SystemEvent): void;
  wait<K extends SystemEvent['kind']>(
    kind: K,
    matches?: (event: Extract<SystemEvent, { kind: K }>) => boolean,
    options?: { from?: number; timeoutMs?: number },
  ): Promise<Extract<SystemEvent, { kind: K }>>;
}

/** Numbers of x86-64. */
const CALL = {
  IOCTL: 16,
  CONNECT: 42,
  BIND: 49,
  EXECVE: 59,
  ADJTIMEX: 159,
  SETTIMEOFDAY: 164,
  REBOOT: 169,
  IOPL: 172,
  IOPERM: 173,
  CLOCK_SETTIME: 227,
  CLOCK_ADJTIME: 305,
} as const;
const FIFREEZE = 0xc0045877n;

/** Offsets in struct timex. */
const TIMEX = { modes: 0, offset: 8, frequency: 16, status: 40, tick: 88, size: 208 } as const;

const words = (data: Buffer): string[] => data.toString('utf8').split('\0').slice(0, -1);

export const executed = (pid: number, data: Buffer): SystemEvent => ({
  kind: 'executed',
  pid,
  argv: words(data),
});

/** null: a notice of nothing that is known. */
export function systemEvent(
  pid: number,
  { number, args, result, data }: SystemCallNotice,
): SystemEvent | null {
  switch (number) {
    case CALL.SETTIMEOFDAY:
    case CALL.CLOCK_SETTIME: {
      if (data.length < 16) return null;
      const fraction = data.readBigInt64LE(8);
      const us = number === CALL.SETTIMEOFDAY ? fraction : fraction / 1000n;
      return { kind: 'clock-set', pid, us: data.readBigInt64LE(0) * 1_000_000n + us };
    }
    case CALL.ADJTIMEX:
    case CALL.CLOCK_ADJTIME:
      if (data.length < TIMEX.size) return null;
      return {
        kind: 'clock-adjusted',
        pid,
        modes: data.readUInt32LE(TIMEX.modes),
        offset: data.readBigInt64LE(TIMEX.offset),
        frequency: data.readBigInt64LE(TIMEX.frequency),
        status: data.readInt32LE(TIMEX.status),
        tick: data.readBigInt64LE(TIMEX.tick),
      };
    case CALL.IOCTL: {
      const kind = BigInt.asUintN(32, args[1]) === FIFREEZE ? 'freeze' : 'thaw';
      return { kind, pid, path: data.toString('utf8'), result: Number(BigInt.asIntN(64, result)) };
    }
    case CALL.EXECVE:
      return { kind: 'shutdown', pid, argv: words(data) };
    case CALL.REBOOT:
      return { kind: 'reboot', pid };
    case CALL.IOPL:
      return { kind: 'io-privilege', pid, level: Number(args[0]) };
    case CALL.IOPERM:
      return { kind: 'io-privilege', pid, level: args[2] === 0n ? 0 : 3 };
    case CALL.BIND:
    case CALL.CONNECT:
      return {
        kind: number === CALL.BIND ? 'vsocket-bind' : 'vsocket-connect',
        pid,
        port: Number(args[1]),
        cid: Number(args[2]),
      };
    default:
      return null;
  }
}

export function createGuestSystem(): GuestSystem {
  const events: SystemEvent[] = [];
  const waiting = waiters<SystemEvent>();
  return {
    events,
    freezeResults: new Map(),
    frozen: new Set(),
    tell(event) {
      events.push(event);
      waiting.tell(event);
    },
    async wait(kind, matches = () => true, { from = 0, timeoutMs } = {}) {
      type Wanted = Extract<SystemEvent, { kind: typeof kind }>;
      const isWanted = (event: SystemEvent): event is Wanted => event.kind === kind;
      const event = await waiting.wait(
        events.slice(from),
        (candidate) => isWanted(candidate) && matches(candidate),
        kind,
        timeoutMs,
      );
      if (!isWanted(event)) throw new Error('unreachable: another kind');
      return event;
    },
  };
}
