/**
 * `chr-agent doctor`: finds out what works on this machine and says what to do about what does not, in the guest and on
 * the host. It reads and asks; it changes nothing.
 */
import { accessSync, constants, readdirSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { NativeAddon } from '../native/addon.ts';
import { probeBackdoor } from '../protocols/vmtools/backdoor.ts';
import type { Config } from './config.ts';
import { type Detection, detect, VIRTIO_PORT, XENBUS_DEVICES } from './detect.ts';
import type { Status } from './status.ts';

export interface Finding {
  readonly level: 'ok' | 'warning' | 'problem';
  readonly text: string;
  /** What to do, and where. */
  readonly remedy?: string;
}

/** What the findings are made of. */
export interface DoctorFacts {
  readonly config: Config;
  readonly detection: Detection;
  /** null: the addon cannot be loaded. */
  readonly native: NativeAddon | null;
  readonly nativeProblem: string | null;
  readonly helperPath: string;
  /** null: no daemon answers. */
  readonly status: Status | null;
  /** Prefix of /dev, /proc and the configuration's paths, for tests. */
  readonly root?: string;
}

/** Other agents that would take our channels. */
const OTHER_AGENTS = new Map([
  ['qemu-ga', 'qemu-guest-agent'],
  ['vmtoolsd', 'open-vm-tools'],
  ['xe-daemon', 'xe-guest-utilities'],
]);
const LOW_SPACE_BYTES = 8 * 1024 * 1024;
const TMPFS_MAGIC = 0x01021994;

export function diagnose(facts: DoctorFacts): Finding[] {
  return [
    ...program(facts),
    ...daemon(facts),
    ...channel(facts),
    ...backdoor(facts),
    ...xenbus(facts),
    ...others(facts),
    ...directories(facts),
    ...scripts(facts),
    ...cgroups(facts),
  ];
}

function ok(text: string): Finding {
  return { level: 'ok', text };
}

function* program({ native, nativeProblem, helperPath }: DoctorFacts): Generator<Finding> {
  if (native === null) yield { level: 'problem', text: nativeProblem ?? 'the native addon cannot be loaded' };
  else yield ok('the native addon is loaded');
  if (isAccessible(helperPath, constants.X_OK)) yield ok('the helper program can be executed');
  else {
    const remedy =
      'it is a part of the package: install the package again, and mount its place without noexec';
    yield { level: 'problem', text: `the helper program ${helperPath} cannot be executed`, remedy };
  }
}

function* daemon({ status, config }: DoctorFacts): Generator<Finding> {
  if (status === null) {
    const text = `no daemon answers at ${config.agent.controlSocket}`;
    yield { level: 'warning', text, remedy: 'start it: chr-agent run, from the init system, as root' };
    return;
  }
  yield ok(`the daemon runs (version ${status.version}, process ${status.pid})`);
  if (status.frozen) {
    const remedy = 'the host thaws them, else the guard at the time limit: chr-agent freeze-status';
    yield { level: 'warning', text: 'file systems are frozen', remedy };
  }
  for (const { name, state, detail } of status.protocols) {
    const text = `${name}: ${state}, ${detail}`;
    if (state === 'failed') yield { level: 'problem', text, remedy: 'see the log of the daemon' };
    else yield state === 'waiting' ? { level: 'warning', text } : ok(text);
  }
}

function* channel({ detection, config, native, status, root = '/' }: DoctorFacts): Generator<Finding> {
  yield ok(`hypervisor: ${detection.hypervisor}`);
  const wanted = config.qemuGa.enabled === true || detection.protocols['qemu-ga'].suggested;
  if (config.qemuGa.enabled === false || !wanted || config.qemuGa.method !== 'virtio-serial') return;
  const path = join(root, config.qemuGa.path ?? VIRTIO_PORT);
  if (!isAccessible(path, constants.F_OK)) {
    yield {
      level: 'problem',
      text: `${path} is not there: the host gives this guest no agent channel`,
      remedy:
        "libvirt: <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel> in the domain; " +
        'Proxmox VE: qm set VMID --agent 1, then stop and start the guest; in the guest: the module virtio_console',
    };
    return;
  }
  if (status !== null || native === null) return;
  const fd = native.openDevice(path);
  if (fd >= 0) {
    native.close(fd);
    yield ok(`${path} can be opened`);
  } else {
    const text = `${path} cannot be opened: ${native.errorText(-fd)}`;
    yield { level: 'problem', text, remedy: 'busy means that another agent has it: stop that one' };
  }
}

function* backdoor({ detection, config, native }: DoctorFacts): Generator<Finding> {
  const { enabled } = config.vmtools;
  const isWanted = enabled === 'auto' ? detection.protocols.vmtools.suggested : enabled;
  if (!isWanted || native === null) return;
  if (probeBackdoor(native) !== null) {
    yield ok('the backdoor to the VMware host is open');
    return;
  }
  yield {
    level: 'problem',
    text: "no VMware host answers: this is another hypervisor, or the virtual machine's backdoor is closed",
    remedy:
      'the configuration of the virtual machine must not have monitor_control.restrict_backdoor = "TRUE"',
  };
}

function* xenbus({ detection, config, root = '/' }: DoctorFacts): Generator<Finding> {
  const { enabled, path } = config.xenstore;
  const isWanted = enabled === 'auto' ? detection.protocols.xenstore.suggested : enabled;
  if (!isWanted) return;
  const places = path === null ? XENBUS_DEVICES : [path];
  const found = places.find((place) => isAccessible(join(root, place), constants.R_OK | constants.W_OK));
  if (found !== undefined) {
    yield ok(`${found} can be opened`);
    return;
  }
  const remedy =
    path === null
      ? 'the kernel makes it, if it was built for Xen guests; an old one needs: mount -t xenfs xenfs /proc/xen'
      : 'set [xenstore] path to the device or to the socket of a xenstored, or leave it out';
  yield {
    level: 'problem',
    text: `${places.join(' and ')} cannot be opened: no way to the host's xenstore`,
    remedy,
  };
}

function* others({ root = '/' }: DoctorFacts): Generator<Finding> {
  for (const pid of readdirSync(join(root, 'proc'))) {
    if (!/^\d+$/.test(pid)) continue;
    const name = readText(join(root, 'proc', pid, 'comm')).trim();
    const packageName = OTHER_AGENTS.get(name);
    if (packageName === undefined) continue;
    const remedy = `remove the package ${packageName}: chr-agent does its work`;
    yield { level: 'warning', text: `${name} runs beside it (process ${pid})`, remedy };
  }
}

function* directories({ config, root = '/' }: DoctorFacts): Generator<Finding> {
  const { stateDir, runtimeDir } = config.agent;
  for (const path of new Set([stateDir, config.scripts.filesDir, runtimeDir])) {
    const place = existingParent(join(root, path));
    if (!isAccessible(place, constants.W_OK)) {
      yield { level: 'problem', text: `${path} cannot be written`, remedy: `mount ${place} writable` };
      continue;
    }
    const { bavail, bsize } = statfsSync(place);
    const freeBytes = bavail * bsize;
    const text = `${path}: ${(freeBytes / 1_048_576).toFixed(0)} MiB free`;
    if (freeBytes < LOW_SPACE_BYTES)
      yield { level: 'warning', text, remedy: 'long script output will be cut' };
    else yield ok(text);
  }
  const runtimePlace = existingParent(join(root, runtimeDir));
  if (statfsSync(runtimePlace).type !== TMPFS_MAGIC) {
    const remedy = 'put [agent] runtime-dir on a tmpfs, as /run is: script texts should not reach the disk';
    yield { level: 'warning', text: `${runtimeDir} is not in memory`, remedy };
  }
}

function* scripts({ config, root = '/' }: DoctorFacts): Generator<Finding> {
  const { interpreter } = config.scripts;
  if (isAccessible(join(root, interpreter), constants.X_OK)) yield ok(`scripts are run by ${interpreter}`);
  else {
    const remedy = 'set [scripts] interpreter to a shell that is there';
    yield { level: 'problem', text: `${interpreter} cannot be executed`, remedy };
  }
  for (const name of ['poweroff', 'reboot', 'halt']) {
    if (isAccessible(join(root, 'sbin', name), constants.X_OK)) continue;
    if (isAccessible(join(root, 'sbin/shutdown'), constants.X_OK)) continue;
    const remedy = 'guest-shutdown needs it: install the init system of the distribution, or link busybox';
    yield { level: 'warning', text: `neither /sbin/${name} nor /sbin/shutdown is there`, remedy };
  }
}

function* cgroups({ status, root = '/' }: DoctorFacts): Generator<Finding> {
  // what counts is the daemon's own group, which only its own /proc entry tells
  if (status === null) return;
  const own = /^0::(\/.*)$/m.exec(readText(join(root, 'proc', String(status.pid), 'cgroup')))?.[1];
  const group = own === undefined ? null : join(root, 'sys/fs/cgroup', own);
  if (group !== null && isAccessible(join(group, 'cgroup.procs'), constants.W_OK)) {
    yield ok('each script gets a control group of its own');
  } else {
    yield ok(
      'no writable cgroup2: scripts are followed by the helper alone, which finds all that they start',
    );
  }
}

function existingParent(path: string): string {
  let place = path;
  while (place !== '/' && statSync(place, { throwIfNoEntry: false }) === undefined) place = join(place, '..');
  return place;
}

function isAccessible(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // a process that has just ended
  }
}

/** The detection and the facts that the doctor collects itself. */
export function collectDoctorFacts(
  config: Config,
  status: Status | null,
  addon: { native: NativeAddon; helperPath: string } | { problem: string },
): DoctorFacts {
  const native = 'native' in addon ? addon.native : null;
  return {
    config,
    detection: detect(native),
    native,
    nativeProblem: 'problem' in addon ? addon.problem : null,
    helperPath: 'helperPath' in addon ? addon.helperPath : 'chr-agent-helper',
    status,
  };
}
