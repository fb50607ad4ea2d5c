/** Which operating system this is: uname(2) and os-release(5), read as spec/qemu-ga.md section 5 (guest-get-osinfo) says. */
import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { machine, release, version } from 'node:os';
import { join } from 'node:path';

export interface OsFacts {
  kernelRelease: string;
  kernelVersion: string;
  machine: string;
  /** The keys of os-release as they are there (`ID`, `PRETTY_NAME` …), values unquoted; empty if there is no such file. */
  release: ReadonlyMap<string, string>;
}

export interface OsOptions {
  root?: string;
  /** A file to read in the place of /etc/os-release and /usr/lib/os-release (QGA_OS_RELEASE). */
  releaseFile?: string | null;
}

export function osFacts({ root = '/', releaseFile = null }: OsOptions = {}): OsFacts {
  const files = releaseFile
    ? [releaseFile]
    : [join(root, 'etc/os-release'), join(root, 'usr/lib/os-release')];
  const content = files.map(readIfThere).find((bytes) => bytes !== null);
  return {
    kernelRelease: release(),
    kernelVersion: version(),
    machine: machine(),
    release: parseOsRelease(content ?? Buffer.alloc(0)),
  };
}

/** The keys and unquoted values; a file that is not UTF-8 has none. A key that comes twice has its last value. */
export function parseOsRelease(content: Uint8Array): Map<string, string> {
  const entries = new Map<string, string>();
  if (!isUtf8(content)) return entries;
  const text = Buffer.from(content).toString();
  for (const line of text.split(/\r?\n/)) {
    const equals = line.indexOf('=');
    if (equals <= 0 || /^\s*#/.test(line)) continue;
    entries.set(line.slice(0, equals).trim(), unquote(line.slice(equals + 1).trimStart()));
  }
  return entries;
}

/** Double quotes go, and backslashes in them; without them the value ends at a space or semicolon. */
function unquote(value: string): string {
  if (!value.startsWith('"')) return value.split(/[ ;]/, 1)[0] ?? '';
  const quoted = /^"((?:\\.|[^"\\])*)/.exec(value)?.[1] ?? '';
  return quoted.replaceAll(/\\([$'"\\`])/g, '$1');
}

function readIfThere(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch {
    return null;
  }
}
