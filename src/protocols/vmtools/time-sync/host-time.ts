/** The host's clock, read over the backdoor by the best command that the host knows (spec vmware.md sections 1.3 and 10). */
import { type Backdoor, type BackdoorResult, COMMAND } from '../backdoor.ts';

export interface HostTime {
  /** Microseconds since 1970, UTC. */
  readonly us: bigint;
  /** A guest that is behind by less than this is not to be stepped. */
  readonly maxErrorUs: number;
  /** How late the guest gets its interrupts: its clock may be behind by that for the moment. null: the host does not tell. */
  readonly lagUs: number | null;
}

/** What the commands of the newer kind leave in EAX. */
const SUPPORTED = 0x564d5868;
const NO_TIME = 0xffff_ffff;
const US = 1_000_000n;

/** @returns null if the host tells no time. @throws {ChannelLost} if this is no VMware machine any more */
export function readHostTime(backdoor: Pick<Backdoor, 'call'>): HostTime | null {
  const withLag = backdoor.call({ command: COMMAND.getTimeFullWithLag });
  if (withLag.ax === SUPPORTED) return { ...fullTime(withLag), lagUs: withLag.di };
  const full = backdoor.call({ command: COMMAND.getTimeFull });
  if (full.ax === SUPPORTED) return { ...fullTime(full), lagUs: null };
  const { ax, bx, cx } = backdoor.call({ command: COMMAND.getTime });
  if (ax === NO_TIME) return null;
  return { us: BigInt(ax) * US + BigInt(bx), maxErrorUs: cx, lagUs: null };
}

function fullTime({ si, dx, bx, cx }: BackdoorResult): Pick<HostTime, 'us' | 'maxErrorUs'> {
  const seconds = (BigInt(si) << 32n) | BigInt(dx);
  return { us: seconds * US + BigInt(bx), maxErrorUs: cx };
}
