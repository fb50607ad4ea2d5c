import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  collectMachineFacts,
  decide,
  detect,
  type Hypervisor,
  type MachineFacts,
} from '../../../src/agent/detect.ts';

const BARE: MachineFacts = {
  hypervisorBit: false,
  signatures: [],
  dmiVendor: null,
  dmiProduct: null,
  sysHypervisorType: null,
  xenCapabilities: null,
  virtioPort: false,
  xenbusDevice: false,
};
const cpuid = (...texts: string[]): Partial<MachineFacts> => ({
  hypervisorBit: true,
  signatures: texts.map((text, index) => ({ leaf: 0x40000000 + index * 0x100, text })),
});

type Protocols = ('qemu-ga' | 'vmtools' | 'xenstore')[];

describe('decision', () => {
  it.each<[string, Partial<MachineFacts>, Hypervisor, Protocols]>([
    ['bare metal', { dmiVendor: 'Dell Inc.', dmiProduct: 'R640' }, 'none', []],
    ['no CPUID', { hypervisorBit: null }, 'none', []],
    ['KVM', { ...cpuid('KVMKVMKVM'), dmiVendor: 'QEMU' }, 'kvm', ['qemu-ga']],
    ['KVM with Hyper-V leaves', cpuid('Microsoft Hv', 'KVMKVMKVM'), 'kvm', ['qemu-ga']],
    ['QEMU without KVM', cpuid('TCGTCGTCGTCG'), 'qemu', ['qemu-ga']],
    [
      'KVM that hides',
      { dmiVendor: 'QEMU', dmiProduct: 'Standard PC (Q35 + ICH9, 2009)' },
      'qemu',
      ['qemu-ga'],
    ],
    [
      'KVM with its VMware host’s DMI',
      { ...cpuid('KVMKVMKVM'), dmiVendor: 'VMware, Inc.' },
      'kvm',
      ['qemu-ga'],
    ],
    ['only the port', { hypervisorBit: null, virtioPort: true }, 'qemu', ['qemu-ga']],
    ['VMware', { ...cpuid('VMwareVMware'), dmiVendor: 'VMware, Inc.' }, 'vmware', ['vmtools']],
    ['VMware that hides', { dmiVendor: 'VMware, Inc.' }, 'vmware', ['vmtools']],
    [
      'Xen HVM',
      { ...cpuid('XenVMMXenVMM'), sysHypervisorType: 'xen', xenbusDevice: true },
      'xen',
      ['xenstore'],
    ],
    ['Xen with Hyper-V leaves', cpuid('Microsoft Hv', 'XenVMMXenVMM'), 'xen', ['xenstore']],
    ['Xen PV', { hypervisorBit: null, sysHypervisorType: 'xen', xenCapabilities: '' }, 'xen', ['xenstore']],
    [
      'Xen domain 0',
      { ...cpuid('XenVMMXenVMM'), xenCapabilities: 'control_d', xenbusDevice: true },
      'xen',
      [],
    ],
    [
      'KVM that imitates Xen',
      { ...cpuid('XenVMMXenVMM', 'KVMKVMKVM'), xenbusDevice: true },
      'kvm',
      ['qemu-ga', 'xenstore'],
    ],
    ['Hyper-V', { ...cpuid('Microsoft Hv'), dmiProduct: 'Virtual Machine' }, 'hyper-v', []],
    [
      'VirtualBox',
      { ...cpuid('KVMKVMKVM'), dmiVendor: 'innotek GmbH', dmiProduct: 'VirtualBox' },
      'virtualbox',
      [],
    ],
    ['VirtualBox by name', cpuid('VBoxVBoxVBox'), 'virtualbox', []],
    ['bhyve', cpuid('bhyve bhyve'), 'bhyve', []],
    ['bhyve with a port', { ...cpuid('bhyve bhyve'), virtioPort: true }, 'bhyve', ['qemu-ga']],
    ['unknown', cpuid('SomethingNew'), 'other', []],
    ['unknown and silent', { hypervisorBit: true }, 'other', []],
  ])('%s', (_name, facts, hypervisor, protocols) => {
    const found = decide({ ...BARE, ...facts });
    expect(found.hypervisor).toBe(hypervisor);
    const suggested = Object.entries(found.protocols).flatMap(([name, { suggested }]) =>
      suggested ? [name] : [],
    );
    expect(suggested).toEqual(protocols);
    for (const { why } of Object.values(found.protocols)) expect(why).not.toBe('');
  });

  it('shows an unknown name as printable text', () => {
    const { evidence } = decide({ ...BARE, ...cpuid('Some\x01thing'), dmiVendor: 'Ä\nB' });
    expect(evidence).toContainEqual({
      source: 'CPUID 0x40000000',
      value: 'Some.thing',
      meaning: 'an unknown hypervisor',
    });
    expect(evidence).toContainEqual(
      expect.objectContaining({ source: '/sys/class/dmi/id/sys_vendor', value: '..B' }),
    );
  });

  it('never throws', () => {
    const text = fc.option(fc.string());
    fc.assert(
      fc.property(
        fc.record({
          hypervisorBit: fc.option(fc.boolean()),
          signatures: fc.array(
            fc.record({ leaf: fc.nat(), text: fc.oneof(fc.string(), fc.constant('__proto__')) }),
          ),
          dmiVendor: text,
          dmiProduct: text,
          sysHypervisorType: text,
          xenCapabilities: text,
          virtioPort: fc.boolean(),
          xenbusDevice: fc.boolean(),
        }),
        (facts) => void decide(facts),
      ),
    );
  });
});

describe('collection', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'chr-agent-detect-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));
  const put = (path: string, content: string) => {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), content);
  };

  /** A CPU whose hypervisor leaves are these; others repeat a basic leaf, as Intel's do. */
  const cpu = (leaves: Record<number, string>, hypervisor = true) => ({
    cpuid(leaf: number): [number, number, number, number] {
      if (leaf === 1) return [0, 0, hypervisor ? 0x80000001 : 1, 0];
      const text = leaves[leaf];
      if (text === undefined) return [7, 0x756e6547, 0x6c65746e, 0x49656e69];
      const name = Buffer.alloc(12);
      name.write(text, 'latin1');
      return [leaf + 1, name.readUInt32LE(0), name.readUInt32LE(4), name.readUInt32LE(8)];
    },
  });

  it('reads CPUID: name, later ranges, no repeated leaves', () => {
    const { signatures } = collectMachineFacts(
      cpu({ 1073741824: 'Microsoft Hv', 1073742080: 'XenVMMXenVMM' }),
      root,
    );
    expect(signatures).toEqual([
      { leaf: 0x40000000, text: 'Microsoft Hv' },
      { leaf: 0x40000100, text: 'XenVMMXenVMM' },
    ]);
    expect(collectMachineFacts(cpu({ 1073741824: 'KVMKVMKVM' }), root).signatures).toEqual([
      { leaf: 0x40000000, text: 'KVMKVMKVM' },
    ]);
    expect(collectMachineFacts(cpu({ 1073741824: 'bhyve bhyve ' }), root).signatures[0]?.text).toBe(
      'bhyve bhyve',
    );
    expect(collectMachineFacts(cpu({ 1073741824: 'KVMKVMKVM' }, false), root)).toEqual(BARE);
  });

  it('reads DMI, sysfs, /proc/xen and device nodes', () => {
    put('sys/class/dmi/id/sys_vendor', 'Xen\n');
    put('sys/class/dmi/id/product_name', 'HVM domU\n');
    put('sys/hypervisor/type', 'xen\n');
    put('proc/xen/capabilities', '');
    put('dev/xen/xenbus', '');
    put('dev/virtio-ports/org.qemu.guest_agent.0', '');
    expect(collectMachineFacts(null, root)).toEqual({
      hypervisorBit: null,
      signatures: [],
      dmiVendor: 'Xen',
      dmiProduct: 'HVM domU',
      sysHypervisorType: 'xen',
      xenCapabilities: '',
      virtioPort: true,
      xenbusDevice: true,
    });
  });

  it('is not held up or thrown by what is no regular file, or a CPU call that fails', () => {
    mkdirSync(join(root, 'sys/class/dmi/id/sys_vendor'), { recursive: true });
    const broken = {
      cpuid(): never {
        throw new Error('no such instruction');
      },
    };
    expect(detect(broken, root).hypervisor).toBe('none');
  });
});
