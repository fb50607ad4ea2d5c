/** The front without a process: backdoor calls as function calls, for tests of channel code. */
import type { Registers } from './registers.ts';
import type { Vmx } from './vmx.ts';

export interface InProcessBackdoor {
  lowBandwidth(registers: Registers): Registers;
  highBandwidthOut(registers: Registers, bytes: Uint8Array): Registers;
  /** Up to `registers.cx` bytes. */
  highBandwidthIn(registers: Registers): { readonly registers: Registers; readonly bytes: Buffer };
}

/** What the CPU raises where there is no backdoor. */
export class GeneralProtectionFault extends Error {
  override readonly name = 'GeneralProtectionFault';
}

export function inProcessBackdoor(vmx: Vmx, { privileged = false } = {}): InProcessBackdoor {
  const orFault = <T>(result: T | null): T => {
    if (result === null) throw new GeneralProtectionFault('no backdoor call');
    return result;
  };
  return {
    lowBandwidth: (registers) => orFault(vmx.backdoor.lowBandwidth(registers, privileged)),
    // a copy: the host keeps the bytes, the guest uses its buffer again
    highBandwidthOut: (registers, bytes) =>
      orFault(vmx.backdoor.highBandwidthOut(registers, Buffer.from(bytes), privileged)),
    highBandwidthIn: (registers) => orFault(vmx.backdoor.highBandwidthIn(registers)),
  };
}
