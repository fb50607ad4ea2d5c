/**
 * Which hypervisor this machine runs on and why, and which protocols that suggests. Collecting (CPUID, DMI, sysfs, device
 * nodes) and deciding are apart; neither throws, whatever the machine is. Truth: the hypervisors' own CPUID leaves from
 * 0x40000000, /sys/hypervisor, smbios strings, and the device nodes that the channels come with.
 */
import { closeSync, constants, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { NativeAddon } from '../native/addon.ts';

export type Hypervisor =
  | 'kvm'
  | 'qemu'
  | 'vmware'
  | 'xen'
  | 'hyper-v'
  | 'virtualbox'
  | 'bhyve'
  | 'other'
  | 'none';

export interface Evidence {
  /** Where it was read: `CPUID 0x40000000`, `/sys/class/dmi/id/sys_vendor`. */
  source: string;
  /** What was there, printable. */
  value: string;
  meaning: string;
}

export interface Suggestion {
  suggested: boolean;
  why: string;
}

export type ProtocolName = 'qemu-ga' | 'vmtools' | 'xenstore';

export interface Detection {
  hypervisor: Hypervisor;
  evidence: Evidence[];
  protocols: Record<ProtocolName, Suggestion>;
}

/** What was read of the machine; null: not there or not readable. */
export interface MachineFacts {
  /** CPUID leaf 1, ECX bit 31; null where there is no CPUID. */
  hypervisorBit: boolean | null;
  /** The twelve-byte names found at 0x40000000, 0x40000100 … in that order. */
  signatures: { leaf: number; text: string }[];
  dmiVendor: string | null;
  dmiProduct: string | null;
  /** /sys/hypervisor/type */
  sysHypervisorType: string | null;
  /** /proc/xen/capabilities; '' if /proc/xen is there without it (a guest). */
  xenCapabilities: string | null;
  virtioPort: boolean;
  xenbusDevice: boolean;
}

export const VIRTIO_PORT = '/dev/virtio-ports/org.qemu.guest_agent.0';
export const XENBUS_DEVICES = ['/dev/xen/xenbus', '/proc/xen/xenbus'];

export function detect(native: Pick<NativeAddon, 'cpuid'> | null, root = '/'): Detection {
  return decide(collectMachineFacts(native, root));
}

export function collectMachineFacts(native: Pick<NativeAddon, 'cpuid'> | null, root: string): MachineFacts {
  const there = (path: string) => existsSync(join(root, path));
  const cpuid = collectCpuid(native);
  return {
    ...cpuid,
    dmiVendor: readShort(join(root, 'sys/class/dmi/id/sys_vendor')),
    dmiProduct: readShort(join(root, 'sys/class/dmi/id/product_name')),
    sysHypervisorType: readShort(join(root, 'sys/hypervisor/type')),
    xenCapabilities: readShort(join(root, 'proc/xen/capabilities')) ?? (there('proc/xen') ? '' : null),
    virtioPort: there(VIRTIO_PORT),
    xenbusDevice: XENBUS_DEVICES.some(there),
  };
}

/** Xen behind Hyper-V leaves, and KVM behind them, announce themselves at one of the following hundreds. */
const FIRST_LEAF = 0x40000000;
const LAST_LEAF = 0x40000600;

function collectCpuid(
  native: Pick<NativeAddon, 'cpuid'> | null,
): Pick<MachineFacts, 'hypervisorBit' | 'signatures'> {
  const nothing = { hypervisorBit: null, signatures: [] };
  if (native === null) return nothing;
  try {
    const [, , features] = native.cpuid(1, 0);
    // without the bit these leaves repeat others
    if ((features & 0x80000000) === 0) return { hypervisorBit: false, signatures: [] };
    const signatures: MachineFacts['signatures'] = [];
    for (let leaf = FIRST_LEAF; leaf <= LAST_LEAF; leaf += 0x100) {
      const [maxLeaf, ...registers] = native.cpuid(leaf, 0);
      // a leaf that is not there may repeat any other: a real one says how far its range goes
      if (leaf > FIRST_LEAF && (maxLeaf < leaf || maxLeaf > leaf + 0xff)) continue;
      const name = Buffer.alloc(12);
      for (const [index, register] of registers.entries()) name.writeUInt32LE(register >>> 0, index * 4);
      const text = printable(name.toString('latin1').replace(/\0+$/, '')).trim();
      if (text !== '') signatures.push({ leaf, text });
    }
    return { hypervisorBit: true, signatures };
  } catch {
    return nothing;
  }
}

interface Meaning {
  hypervisor: Hypervisor;
  name: string;
}

const SIGNATURES: Record<string, Meaning> = {
  KVMKVMKVM: { hypervisor: 'kvm', name: 'KVM' },
  'Linux KVM Hv': { hypervisor: 'kvm', name: 'KVM that imitates Hyper-V' },
  TCGTCGTCGTCG: { hypervisor: 'qemu', name: "QEMU's emulation (TCG)" },
  VMwareVMware: { hypervisor: 'vmware', name: 'VMware' },
  XenVMMXenVMM: { hypervisor: 'xen', name: 'Xen' },
  'Microsoft Hv': { hypervisor: 'hyper-v', name: 'Microsoft Hyper-V, or another that imitates it' },
  VBoxVBoxVBox: { hypervisor: 'virtualbox', name: 'VirtualBox' },
  'bhyve bhyve': { hypervisor: 'bhyve', name: 'bhyve' },
  ACRNACRNACRN: { hypervisor: 'other', name: 'ACRN' },
  'lrpepyh vr': { hypervisor: 'other', name: 'Parallels' },
  QNXQVMBSQG: { hypervisor: 'other', name: 'QNX' },
  OpenBSDVMM58: { hypervisor: 'other', name: 'OpenBSD vmm' },
  '___ NVMM ___': { hypervisor: 'other', name: 'NetBSD NVMM' },
  Jailhouse: { hypervisor: 'other', name: 'Jailhouse' },
  HAXMHAXMHAXM: { hypervisor: 'other', name: 'Intel HAXM' },
};

const DMI: [RegExp, Meaning][] = [
  [/vmware/i, { hypervisor: 'vmware', name: 'VMware' }],
  [/innotek|virtualbox/i, { hypervisor: 'virtualbox', name: 'VirtualBox' }],
  [/^xen$|hvm domu/i, { hypervisor: 'xen', name: 'Xen' }],
  [/^virtual machine$/i, { hypervisor: 'hyper-v', name: 'Microsoft Hyper-V' }],
  [/bhyve/i, { hypervisor: 'bhyve', name: 'bhyve' }],
  [/qemu|kvm|^standard pc|openstack|proxmox|ovirt|rhev/i, { hypervisor: 'qemu', name: 'QEMU' }],
];

/** Every fact as a line of evidence, the hypervisor that they make likely, and what that means for the protocols. */
export function decide(facts: MachineFacts): Detection {
  const findings = [
    ...cpuidFindings(facts),
    ...xenFindings(facts),
    ...dmiFindings(facts),
    ...deviceFindings(facts),
  ];
  const hypervisor = choose(findings, facts);
  return {
    hypervisor,
    evidence: findings.map(({ source, value, meaning }) => ({ source, value: printable(value), meaning })),
    protocols: suggestProtocols(hypervisor, facts),
  };
}

/** `kernel`: CPU and kernel say so. `firmware`: DMI strings, which a host lets users set. */
interface Finding extends Evidence {
  names?: { hypervisor: Hypervisor; by: 'kernel' | 'firmware' };
}

function cpuidFindings({ hypervisorBit, signatures }: MachineFacts): Finding[] {
  if (hypervisorBit === null) return [];
  const bit: Finding = {
    source: 'CPUID 1 ECX bit 31',
    value: hypervisorBit ? '1' : '0',
    meaning: hypervisorBit ? 'a hypervisor says it is there' : 'no hypervisor, or a hidden one',
  };
  const names = signatures.map(({ leaf, text }): Finding => {
    const known = Object.hasOwn(SIGNATURES, text) ? SIGNATURES[text] : undefined;
    return {
      source: `CPUID 0x${leaf.toString(16)}`,
      value: text,
      meaning: known?.name ?? 'an unknown hypervisor',
      names: { hypervisor: known?.hypervisor ?? 'other', by: 'kernel' },
    };
  });
  return [bit, ...names];
}

function xenFindings(facts: MachineFacts): Finding[] {
  const findings: Finding[] = [];
  const xen: Finding['names'] = { hypervisor: 'xen', by: 'kernel' };
  const type = facts.sysHypervisorType;
  if (type === 'xen') {
    findings.push({ source: '/sys/hypervisor/type', value: type, meaning: 'Xen', names: xen });
  } else if (type !== null) {
    findings.push({ source: '/sys/hypervisor/type', value: type, meaning: 'a hypervisor unknown here' });
  }
  if (facts.xenCapabilities !== null) {
    const meaning = isDomain0(facts) ? 'Xen, and this is domain 0' : 'a Xen guest';
    findings.push({ source: '/proc/xen', value: facts.xenCapabilities || 'present', meaning, names: xen });
  }
  return findings;
}

function dmiFindings(facts: MachineFacts): Finding[] {
  const strings = [
    ['sys_vendor', facts.dmiVendor],
    ['product_name', facts.dmiProduct],
  ] as const;
  return strings.flatMap(([file, value]): Finding[] => {
    if (value === null) return [];
    const known = DMI.find(([pattern]) => pattern.test(value))?.[1];
    const source = `/sys/class/dmi/id/${file}`;
    if (known === undefined) return [{ source, value, meaning: 'no hypervisor that is known here' }];
    return [{ source, value, meaning: known.name, names: { hypervisor: known.hypervisor, by: 'firmware' } }];
  });
}

function deviceFindings(facts: MachineFacts): Finding[] {
  const findings: Finding[] = [];
  if (facts.virtioPort) {
    findings.push({ source: VIRTIO_PORT, value: 'present', meaning: "QEMU guest agent's channel" });
  }
  if (facts.xenbusDevice) {
    findings.push({ source: '/dev/xen/xenbus', value: 'present', meaning: 'xenstore can be reached' });
  }
  return findings;
}

/**
 * Strongest first, of what the same kind of evidence names. KVM comes first since it can imitate Xen and Hyper-V, Hyper-V
 * late since KVM, Xen and VMware imitate it.
 */
const WEIGHT: Hypervisor[] = ['kvm', 'vmware', 'xen', 'virtualbox', 'qemu', 'bhyve', 'hyper-v'];

function choose(findings: readonly Finding[], facts: MachineFacts): Hypervisor {
  const namedBy = (by: 'kernel' | 'firmware') =>
    WEIGHT.find((hypervisor) =>
      findings.some(({ names }) => names?.by === by && names.hypervisor === hypervisor),
    );
  const byKernel = namedBy('kernel');
  const byFirmware = namedBy('firmware');
  // VirtualBox gives KVM's name to Linux guests
  if (byKernel === 'kvm' && byFirmware === 'virtualbox') return 'virtualbox';
  const named = byKernel ?? byFirmware;
  if (named !== undefined) return named;
  if (facts.virtioPort) return 'qemu';
  if (facts.xenbusDevice) return 'xen';
  return facts.hypervisorBit ? 'other' : 'none';
}

function suggestProtocols(hypervisor: Hypervisor, facts: MachineFacts): Detection['protocols'] {
  const yes = (why: string): Suggestion => ({ suggested: true, why });
  const no = (why: string): Suggestion => ({ suggested: false, why });
  const qemuGa = () => {
    if (facts.virtioPort) return yes(`${VIRTIO_PORT} is there`);
    if (hypervisor === 'kvm' || hypervisor === 'qemu') {
      return yes(`the hypervisor is ${hypervisor}; the channel may still come`);
    }
    return no(`no guest agent port, and the hypervisor is ${hypervisor}`);
  };
  const vmtools = () =>
    hypervisor === 'vmware' ? yes('the hypervisor is VMware') : no(`the hypervisor is ${hypervisor}`);
  const xenstore = () => {
    if (isDomain0(facts)) return no('this is domain 0, not a guest');
    if (facts.xenbusDevice) return yes('a xenbus device is there');
    if (facts.xenCapabilities !== null) return yes('/proc/xen says this is a guest');
    return hypervisor === 'xen'
      ? yes('the hypervisor is Xen; the xenbus device may still come')
      : no(`no xenbus device, and the hypervisor is ${hypervisor}`);
  };
  return { 'qemu-ga': qemuGa(), vmtools: vmtools(), xenstore: xenstore() };
}

const isDomain0 = (facts: MachineFacts) => facts.xenCapabilities?.includes('control_d') ?? false;

const MAX_FACT_BYTES = 256;

/** The first bytes of a regular file without white space at its end; null if it is no such file. Never blocks. */
function readShort(path: string): string | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return null;
  }
  try {
    if (!fstatSync(fd).isFile()) return null;
    const content = Buffer.alloc(MAX_FACT_BYTES);
    const count = readSync(fd, content, 0, content.length, 0);
    return content.toString('utf8', 0, count).trim();
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}

/** Control and other unprintable characters as `.`, so that a report stays one line. */
function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '.');
}
