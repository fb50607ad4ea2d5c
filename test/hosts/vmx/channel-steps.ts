/** The steps of a channel by name, and faults that tests put into them; vmware.md section 2. */

export type Protocol = 'RPCI' | 'TCLO';
export type Step =
  | 'OPEN'
  | 'SENDSIZE'
  | 'SENDPAYLOAD'
  | 'RECVSIZE'
  | 'RECVPAYLOAD'
  | 'RECVSTATUS'
  | 'CLOSE'
  | 'OUTSB'
  | 'INSB';

export const PROTOCOLS: ReadonlyMap<number, Protocol> = new Map([
  [0x49435052, 'RPCI'],
  [0x4f4c4354, 'TCLO'],
]);
export const STEPS: readonly Step[] = [
  'OPEN',
  'SENDSIZE',
  'SENDPAYLOAD',
  'RECVSIZE',
  'RECVPAYLOAD',
  'RECVSTATUS',
  'CLOSE',
];

/** A step that goes wrong. With the CPT bit the message starts again; without it the channel is dead. */
export interface ChannelFault {
  readonly step: Step;
  readonly status: number;
  readonly protocol?: Protocol;
  /** So many of these steps still go well. */
  readonly after?: number;
  readonly times?: number;
}

export interface Faults {
  inject(fault: ChannelFault): void;
  /** The status with which this step is to fail; null: it goes well. */
  at(step: Step, protocol: Protocol): number | null;
}

export function createFaults(): Faults {
  const faults: { fault: ChannelFault; after: number; times: number }[] = [];
  return {
    inject(fault) {
      faults.push({ fault, after: fault.after ?? 0, times: fault.times ?? 1 });
    },
    at(step, protocol) {
      const hit = faults.find(
        ({ fault }) => fault.step === step && (fault.protocol ?? protocol) === protocol,
      );
      if (hit === undefined) return null;
      if (hit.after > 0) {
        hit.after -= 1;
        return null;
      }
      hit.times -= 1;
      if (hit.times === 0) faults.splice(faults.indexOf(hit), 1);
      return hit.fault.status;
    },
  };
}
