/** The doctor's findings, from made-up machines. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatFinding } from '../../../src/agent/cli/doctor.ts';
import { formatJobs } from '../../../src/agent/cli/jobs.ts';
import { parseConfig } from '../../../src/agent/config.ts';
import { decide } from '../../../src/agent/detect.ts';
import { type DoctorFacts, diagnose } from '../../../src/agent/doctor.ts';
import type { Status } from '../../../src/agent/status.ts';
import { native } from '../../../src/native/index.ts';
import { createVmx } from '../../hosts/vmx/vmx.ts';
import { simulatedNative } from '../../support/simulated-backdoor.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'doctor-'));
  put('bin/sh', 0o755);
  put('sbin/shutdown', 0o755);
  put('helper', 0o755);
  for (const path of ['proc', 'run', 'var/lib']) mkdirSync(join(root, path), { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true }));

function put(path: string, mode = 0o644, text = ''): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
  chmodSync(join(root, path), mode);
}

const KVM = {
  hypervisorBit: true,
  signatures: [{ leaf: 0x40000000, text: 'KVMKVMKVM' }],
  dmiVendor: 'QEMU',
  dmiProduct: null,
  sysHypervisorType: null,
  xenCapabilities: null,
  virtioPort: false,
  xenbusDevice: false,
};
const STATUS: Status = {
  version: '1',
  pid: 77,
  startedAt: '2026-01-01T00:00:00.000Z',
  hypervisor: 'kvm',
  protocols: [{ name: 'qemu-ga', state: 'failed', detail: 'cannot listen' }],
  jobs: { running: 0, finished: 0 },
  frozen: true,
  license: null,
  memory: { residentBytes: 1, heapBytes: 1 },
};

function texts(changes: Partial<DoctorFacts> = {}, toml = ''): string[] {
  const facts: DoctorFacts = {
    config: parseConfig(toml, 'agent.toml'),
    detection: decide(KVM),
    native,
    nativeProblem: null,
    helperPath: join(root, 'helper'),
    status: null,
    root,
    ...changes,
  };
  return diagnose(facts).map(({ level, text }) => `${level}: ${text}`);
}

describe('the doctor', () => {
  it('names what the host has to enable when the agent channel is missing', () => {
    const findings = texts();
    expect(findings).toContainEqual(
      expect.stringMatching(/^problem: .*org\.qemu\.guest_agent\.0 is not there/),
    );
    expect(findings).toContain('ok: hypervisor: kvm');
    expect(findings).toContainEqual(expect.stringMatching(/^warning: no daemon answers at/));
  });

  it('does not miss a channel that is not wanted', () => {
    expect(texts({}, '[qemu-ga]\nenabled = false').join()).not.toContain('guest_agent');
  });

  it('looks for the xenbus device in a Xen guest, or for what the configuration names', () => {
    const xen = { detection: decide({ ...KVM, signatures: [], sysHypervisorType: 'xen' }) };
    expect(texts().join()).not.toContain('xenstore');
    expect(texts(xen)).toContain(
      "problem: /dev/xen/xenbus and /proc/xen/xenbus cannot be opened: no way to the host's xenstore",
    );
    expect(texts({}, '[xenstore]\nenabled = true\npath = "/run/socket"')).toContain(
      "problem: /run/socket cannot be opened: no way to the host's xenstore",
    );
    put('proc/xen/xenbus');
    expect(texts(xen)).toContain('ok: /proc/xen/xenbus can be opened');
  });

  it('looks for the host in a VMware machine', () => {
    const vmware = decide({ ...KVM, signatures: [], dmiVendor: 'VMware, Inc.' });
    const closed = /^problem: no VMware host answers/;
    expect(texts().join()).not.toContain('VMware');
    expect(texts({ detection: vmware })).toContainEqual(expect.stringMatching(closed));
    expect(texts({}, '[vmtools]\nenabled = true')).toContainEqual(expect.stringMatching(closed));
    expect(texts({ detection: vmware }, '[vmtools]\nenabled = false').join()).not.toContain('VMware host');
    const open = Object.assign(Object.create(native), simulatedNative(createVmx().backdoor));
    expect(texts({ detection: vmware, native: open })).toContain(
      'ok: the backdoor to the VMware host is open',
    );
  });

  it('tells what the daemon says of itself', () => {
    const findings = texts({ status: STATUS });
    expect(findings).toContain('problem: qemu-ga: failed, cannot listen');
    expect(findings).toContain('warning: file systems are frozen');
  });

  it('finds other agents, missing programs and a broken installation', () => {
    put('proc/123/comm', 0o644, 'qemu-ga\n');
    put('proc/self/comm', 0o644, 'qemu-ga\n');
    rmSync(join(root, 'sbin/shutdown'));
    rmSync(join(root, 'bin/sh'));
    chmodSync(join(root, 'helper'), 0o644);
    const findings = texts({ native: null, nativeProblem: 'cannot load it' });
    expect(findings).toContain('warning: qemu-ga runs beside it (process 123)');
    expect(findings.filter((each) => each.includes('runs beside'))).toHaveLength(1);
    expect(findings).toContain('warning: neither /sbin/reboot nor /sbin/shutdown is there');
    expect(findings).toContain('problem: /bin/sh cannot be executed');
    expect(findings).toContainEqual(expect.stringMatching(/^problem: the helper program/));
    expect(findings).toContain('problem: cannot load it');
  });

  it('speaks to people', () => {
    expect(formatFinding({ level: 'problem', text: 'this', remedy: 'do that' })).toBe(
      'PROBLEM  this\n          → do that\n',
    );
  });
});

it('chr-agent jobs shows a table', () => {
  expect(formatJobs([])).toBe('no scripts\n');
  expect(
    formatJobs([{ pid: 5, origin: 'qemu-ga', startedAt: '2026-01-01', state: 'timed-out', outputBytes: 3 }]),
  ).toBe('PID  ORIGIN   STARTED     STATE      OUTPUT\n5    qemu-ga  2026-01-01  timed-out  3 bytes\n');
});
