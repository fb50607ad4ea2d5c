/** Guest information as keys: what XAPI, and other readers of the store, expect where (spec/xenstore.md section 5). Pure. */
import type { Distribution } from '../../guest/distribution.ts';
import type { MemoryUsage } from '../../guest/memory-usage.ts';
import type { Volume } from '../../guest/volumes.ts';

/** An interface that the host knows by a number. */
export interface Vif {
  number: number;
  name: string;
  mac: string | null;
  ipv4: string[];
  ipv6: string[];
}

/** `backend` is the name of the disk at the host, null if that does not tell. */
export type PublishedVolume = Volume & { backend: string | null };

export interface PublishedFacts {
  agentVersion: string;
  distribution: Distribution;
  kernelRelease: string;
  hostname: string;
  /** null: not to be had. */
  memory: MemoryUsage | null;
  bootTimeSeconds: number | null;
  vifs: readonly Vif[];
  /** Functions of the host's network cards, numbered by themselves. */
  virtualFunctions: readonly Vif[];
  volumes: readonly PublishedVolume[];
  /** null: the key is left alone. */
  featureBalloon: boolean | null;
}

export const OWN_KEY = 'attr/PVAddons/MajorVersion';
export const UPDATED_KEY = 'data/updated';
const BALLOON_KEY = 'control/feature-balloon';

/** Everything below is the agent's, and goes when it is not published any more. */
export const OWN_SUBTREES = ['attr/PVAddons', 'attr/vif', 'data/volumes', 'xenserver/attr/net-sriov-vf'];
/** And children of `attr` with such names. */
export const OLD_INTERFACE = /^eth\d+$/;
export const OWN_LEAVES = [
  'data/os_name',
  'data/os_uname',
  'data/os_distro',
  'data/os_majorver',
  'data/os_minorver',
  'data/host_name_dns',
  'data/domain',
  'data/meminfo_total',
  'data/meminfo_free',
  'data/boot_time',
  BALLOON_KEY,
];

/** The keys and their values, the most important first, without {@link UPDATED_KEY}. */
export function keysOf(facts: PublishedFacts): Map<string, string> {
  const keys = new Map<string, string>();
  const put = (path: string, value: string | null) => {
    if (value !== null) keys.set(path, value);
  };
  putVersion(facts.agentVersion, put);
  putSystem(facts, put);
  for (const vif of facts.vifs) putVif(vif, put);
  for (const { number, ipv4, ipv6 } of facts.virtualFunctions) {
    putAddresses(`xenserver/attr/net-sriov-vf/${number}`, ipv4, ipv6, put);
  }
  for (const [index, volume] of facts.volumes.entries()) putVolume(index, volume, put);
  return keys;
}

type Put = (path: string, value: string | null) => void;

/** A major version of 0 hides the version in Xen Orchestra: the own one is in the build version then. */
function putVersion(version: string, put: Put): void {
  const numbers = /^(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1) ?? [];
  const [major = '0', minor = '0', micro = '0'] = numbers;
  const isZero = Number(major) === 0;
  put('attr/PVAddons/Installed', '1');
  put(OWN_KEY, isZero ? '1' : major);
  put('attr/PVAddons/MinorVersion', isZero ? '0' : minor);
  put('attr/PVAddons/MicroVersion', isZero ? '0' : micro);
  put('attr/PVAddons/BuildVersion', `chr-agent-${version}`);
}

function putSystem(facts: PublishedFacts, put: Put): void {
  const { distribution, memory, hostname } = facts;
  put('data/os_name', distribution.name);
  put('data/os_uname', facts.kernelRelease);
  put('data/os_distro', distribution.id);
  put('data/os_majorver', distribution.majorVersion ?? 'unknown');
  put('data/os_minorver', distribution.minorVersion ?? 'unknown');
  const dot = hostname.indexOf('.');
  put('data/host_name_dns', dot < 0 ? hostname : hostname.slice(0, dot));
  put('data/domain', dot < 0 ? null : hostname.slice(dot + 1));
  if (memory !== null) {
    put('data/meminfo_total', kibibytes(memory.totalBytes));
    put('data/meminfo_free', kibibytes(memory.availableBytes));
  }
  if (facts.bootTimeSeconds !== null) put('data/boot_time', String(facts.bootTimeSeconds));
  if (facts.featureBalloon !== null) put(BALLOON_KEY, facts.featureBalloon ? '1' : '0');
}

/** The new form, and the one of hosts before 2017, which show just one IPv4 address of an interface. */
function putVif({ number, name, mac, ipv4, ipv6 }: Vif, put: Put): void {
  const place = `attr/vif/${number}`;
  put(`${place}/name`, name);
  put(`${place}/mac/0`, mac);
  putAddresses(place, ipv4, ipv6, put);
  const old = `attr/eth${number}`;
  put(`${old}/mac/0`, mac);
  put(`${old}/ip`, ipv4[0] ?? null);
  for (const [index, address] of ipv6.entries()) put(`${old}/ipv6/${index}/addr`, address);
}

function putAddresses(place: string, ipv4: readonly string[], ipv6: readonly string[], put: Put): void {
  for (const [index, address] of ipv4.entries()) put(`${place}/ipv4/${index}`, address);
  for (const [index, address] of ipv6.entries()) put(`${place}/ipv6/${index}`, address);
}

function putVolume(index: number, volume: PublishedVolume, put: Put): void {
  const place = `data/volumes/${index}`;
  const isLvm = volume.type === 'LVM2_member';
  put(`${place}/name`, volume.uuid === null ? volume.node : `${volume.node}(${volume.uuid})`);
  put(`${place}/size`, String(volume.sizeBytes));
  put(`${place}/free`, volume.freeBytes === null ? null : String(volume.freeBytes));
  put(`${place}/filesystem`, volume.type);
  put(`${place}/mount_points/0`, isLvm ? '[LVM]' : volume.mountPoint);
  put(`${place}/extents/0`, volume.backend);
}

const kibibytes = (bytes: number) => String(Math.floor(bytes / 1024));

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `Mon Jan _2 15:04:05 2006`, local time, as xe-guest-utilities writes it. */
export function updatedValue(now: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join(':');
  const day = String(now.getDate()).padStart(2);
  return `${DAYS[now.getDay()]} ${MONTHS[now.getMonth()]} ${day} ${time} ${now.getFullYear()}`;
}

/**
 * What to remove so that the keys `gone` are, and also the nodes above them that would stay behind empty: an empty `attr/vif/<n>` hides the
 * old form of the addresses.
 */
export function removalsOf(gone: Iterable<string>, wanted: ReadonlyMap<string, string>): Set<string> {
  const needed = new Set(NOT_REMOVED);
  for (const path of wanted.keys()) {
    for (let place = path; place !== ''; place = parentOf(place)) needed.add(place);
  }
  const removals = new Set<string>();
  for (const path of gone) {
    // something else is below it by now
    if (needed.has(path)) continue;
    let place = path;
    for (let above = parentOf(place); above !== '' && !needed.has(above); above = parentOf(place))
      place = above;
    removals.add(place);
  }
  return removals;
}

/** The toolstack's own folders. */
const NOT_REMOVED = ['attr', 'data', 'control', 'xenserver', 'xenserver/attr'];

const parentOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('/')));
