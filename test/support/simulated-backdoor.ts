/** A simulated VMware host behind the native addon's own functions: registers as the addon passes them, no instruction. */
import { type Backdoor, type BackdoorNative, probeBackdoor } from '../../src/protocols/vmtools/backdoor.ts';
import type { Registers } from '../hosts/vmx/registers.ts';
import type { Backdoor as HostBackdoor } from '../hosts/vmx/vmx.ts';

export function simulatedNative(host: HostBackdoor): BackdoorNative {
  let level = 0;
  const isPrivileged = () => level === 3;
  return {
    cpuid(leaf) {
      const { eax, ebx, ecx, edx } = host.cpuid(leaf, { eax: 0, ebx: 0, ecx: 0, edx: 0 });
      return [eax, ebx, ecx, edx];
    },
    setIoPrivilege(wanted) {
      level = wanted;
      return 0;
    },
    backdoorCall: (_how, array) => store(host.lowBandwidth(load(array), isPrivileged()), array),
    backdoorWrite(_how, array, source, start, end) {
      const bytes = Buffer.from(source.subarray(start, end));
      return store(host.highBandwidthOut({ ...load(array), cx: bytes.length }, bytes, isPrivileged()), array);
    },
    backdoorRead(_how, array, target, start, end) {
      const answer = host.highBandwidthIn({ ...load(array), cx: end - start });
      if (answer === null) return false;
      target.set(answer.bytes.subarray(0, end - start), start);
      return store(answer.registers, array);
    },
  };
}

/** @throws Error if the host is none of VMware's */
export function simulatedBackdoor(host: HostBackdoor): Backdoor {
  const backdoor = probeBackdoor(simulatedNative(host));
  if (backdoor === null) throw new Error('the simulated host is not recognised');
  return backdoor;
}

function load(array: Uint32Array): Registers {
  const [ax = 0, bx = 0, cx = 0, dx = 0, si = 0, di = 0, bp = 0] = array;
  return { ax, bx, cx, dx, si, di, bp };
}

function store(registers: Registers | null, array: Uint32Array): boolean {
  if (registers === null) return false;
  const { ax, bx, cx, dx, si, di, bp } = registers;
  array.set([ax, bx, cx, dx, si, di, bp]);
  return true;
}
