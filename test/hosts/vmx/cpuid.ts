/** CPUID as a VMware host lets its guest see it; vmware.md sections 1.1 and 1.2. */

export interface CpuidAnswer {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

export interface CpuidOptions {
  /** 12 characters; null: the hypervisor hides itself. Default VMware's own. */
  readonly vendor?: string | null;
  /** The hypercalls that the host offers instead of the I/O port; default none. */
  readonly hypercalls?: readonly ('vmcall' | 'vmmcall')[];
}

const HYPERVISOR_BIT = 0x80000000;
const VENDOR_LEAF = 0x40000000;
const HIGHEST_LEAF = 0x40000010;

/** @param machine - what the CPU itself would answer */
export function cpuid(options: CpuidOptions, leaf: number, machine: CpuidAnswer): CpuidAnswer {
  const { vendor = 'VMwareVMware', hypercalls = [] } = options;
  if (leaf === 1)
    return {
      ...machine,
      ecx: vendor === null ? machine.ecx & ~HYPERVISOR_BIT : (machine.ecx | HYPERVISOR_BIT) >>> 0,
    };
  if (leaf === VENDOR_LEAF && vendor !== null) {
    const name = Buffer.from(vendor.padEnd(12, '\0'), 'latin1');
    return {
      eax: HIGHEST_LEAF,
      ebx: name.readUInt32LE(0),
      ecx: name.readUInt32LE(4),
      edx: name.readUInt32LE(8),
    };
  }
  if (leaf === HIGHEST_LEAF) {
    const bits = (hypercalls.includes('vmmcall') ? 1 : 0) | (hypercalls.includes('vmcall') ? 2 : 0);
    return { eax: 2_400_000, ebx: 0, ecx: bits, edx: 0 };
  }
  return machine;
}
