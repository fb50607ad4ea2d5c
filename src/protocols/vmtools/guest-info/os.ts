/** Which system this is, as hosts know it: names and details (spec vmware.md sections 6.4 and 6.5). Pure. */

export interface OsSource {
  readonly kernelRelease: string;
  /** As uname(2): `x86_64`. */
  readonly machine: string;
  /** The keys of os-release. */
  readonly release: ReadonlyMap<string, string>;
}

export interface OsNames {
  /** The identifier of a virtual machine's configuration: `debian12-64`. */
  readonly shortName: string;
  readonly fullName: string;
}

const VERSION = 1;
const SHORT_NAME = { at: 4, bytes: 129 };
const FULL_NAME = { at: 133, bytes: 513 };
const DETAILS_AT = 648;
const MAX_DETAILS_BYTES = 1023;

/** Distributions with an identifier of their own; `*` stands for the major version. */
const IDENTIFIERS: Readonly<Record<string, string>> = {
  almalinux: 'almalinux',
  amzn: 'amazonlinux*',
  centos: 'centos*',
  coreos: 'coreos',
  debian: 'debian*',
  fedora: 'fedora',
  flatcar: 'flatcar',
  ol: 'oraclelinux*',
  'opensuse-leap': 'opensuse',
  'opensuse-tumbleweed': 'opensuse',
  photon: 'vmware-photon',
  rhel: 'rhel*',
  rocky: 'rockylinux',
  sled: 'sles*',
  sles: 'sles*',
  ubuntu: 'ubuntu',
};

export function osNames(os: OsSource): OsNames {
  const parts = [
    'Linux',
    os.kernelRelease,
    ...['PRETTY_NAME', 'NAME', 'VERSION_ID', 'VERSION'].map((key) => os.release.get(key)),
  ];
  return { shortName: shortName(os), fullName: clean(parts.filter((part) => part).join(' ')) };
}

/** Type 11, after its blank. */
export function encodeOsDetails({ shortName, fullName }: OsNames, details: string): Buffer {
  const head = Buffer.alloc(DETAILS_AT);
  head.writeUInt32LE(VERSION);
  writePadded(head, SHORT_NAME, shortName);
  writePadded(head, FULL_NAME, fullName);
  return Buffer.concat([head, Buffer.from(`${details}\0`)]);
}

/** `key='value' …`; a field that has no value, or no room, is left out. */
export function osDetails(os: OsSource): string {
  const { release } = os;
  const fields: readonly (readonly [string, string | undefined])[] = [
    ['architecture', isArm(os) ? 'Arm' : 'X86'],
    ['bitness', is64Bit(os) ? '64' : '32'],
    ['buildNumber', release.get('BUILD_ID')],
    ['cpeString', release.get('CPE_NAME')],
    ['distroAddlVersion', release.get('VERSION')],
    ['distroName', release.get('NAME') || 'Linux'],
    ['distroVersion', release.get('VERSION_ID')],
    ['familyName', 'Linux'],
    ['kernelVersion', os.kernelRelease],
    ['prettyName', release.get('PRETTY_NAME') || 'Linux'],
  ];
  let text = '';
  for (const [key, value] of fields) {
    // quotes would end the value, and nothing can protect them
    const told = clean(value ?? '').replaceAll("'", '');
    if (told === '') continue;
    const item = `${text === '' ? '' : ' '}${key}='${told}'`;
    if (Buffer.byteLength(text + item) <= MAX_DETAILS_BYTES) text += item;
  }
  return text;
}

function shortName(os: OsSource): string {
  const id = os.release.get('ID')?.toLowerCase() ?? '';
  const major = majorVersion(id, os.release.get('VERSION_ID') ?? '');
  const known = Object.hasOwn(IDENTIFIERS, id) ? IDENTIFIERS[id] : undefined;
  // a distribution's name alone is no identifier if there is one for each version
  const isKnown = known !== undefined && !(known.endsWith('*') && major === '');
  const name = isKnown ? known.replace('*', major) : otherLinux(os.kernelRelease);
  return `${isArm(os) ? 'arm-' : ''}${name}${is64Bit(os) ? '-64' : ''}`;
}

/** Amazon's third is called by its year. */
function majorVersion(id: string, version: string): string {
  const major = /^\d+/.exec(version)?.[0] ?? '';
  return id === 'amzn' && major.length === 4 ? '3' : major;
}

/** `other6xlinux` for Linux 6.1. */
function otherLinux(kernelRelease: string): string {
  const [, major = '', minor = ''] = /^(\d+)\.(\d+)/.exec(kernelRelease) ?? [];
  if (major === '2') return minor === '4' ? 'other24xlinux' : 'other26xlinux';
  return major === '' ? 'otherlinux' : `other${major}xlinux`;
}

const clean = (text: string) => text.replaceAll(/[\u0000-\u001f]/g, '');
const isArm = ({ machine }: OsSource) => /^(arm|aarch)/.test(machine);
const is64Bit = ({ machine }: OsSource) => machine.includes('64');

/** The last byte stays NUL. */
function writePadded(target: Buffer, { at, bytes }: { at: number; bytes: number }, text: string): void {
  target.write(text, at, bytes - 1);
}
