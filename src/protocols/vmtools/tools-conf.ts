/**
 * tools.conf, the configuration file of open-vm-tools, for images that come from there (spec vmware.md section 11): the keys that
 * mean something here. The agent's own configuration goes first, which is the business of who asks.
 */
import { constants, promises as fs } from 'node:fs';
import type { FreezeGate } from '../../guest/freeze-gate.ts';
import type { Log } from '../../log.ts';
import { type KeyFileGroup, readKeyFile } from '../key-file.ts';

interface KnownKeys {
  vmtools: 'disable-tools-version' | 'hide-tools-version';
  powerops: 'poweron-script' | 'poweroff-script' | 'suspend-script' | 'resume-script';
  guestinfo:
    | 'poll-interval'
    | 'stats-interval'
    | 'disable-perf-mon'
    | 'disable-query-diskinfo'
    | 'exclude-nics'
    | 'primary-nics'
    | 'low-priority-nics'
    | 'max-ipv4-routes'
    | 'max-ipv6-routes'
    | 'diskinfo-include-reserved'
    | 'diskinfo-report-device';
  guestosinfo: 'short-name' | 'long-name';
  guestoperations: 'disabled' | `${string}.disabled`;
  vmbackup:
    | 'timeout'
    | 'enableSyncDriver'
    | 'enableNullDriver'
    | 'enableVSS'
    | 'execScripts'
    | 'scriptArg'
    | 'quiesceApps'
    | 'quiesceFS'
    | 'excludedFileSystems'
    | 'ignoreFrozenFileSystems';
}

/** A value that cannot be understood is as one that is not there; it has been logged. */
export interface ToolsConf {
  text<Group extends keyof KnownKeys>(group: Group, key: KnownKeys[Group]): string | undefined;
  flag<Group extends keyof KnownKeys>(group: Group, key: KnownKeys[Group]): boolean | undefined;
  number<Group extends keyof KnownKeys>(group: Group, key: KnownKeys[Group]): number | undefined;
}

export interface ToolsConfFile {
  /**
   * What stands in the file now; it is read again only if it has changed. While file systems are frozen, and when it cannot be
   * understood, what stood there before. Never rejects.
   */
  read(): Promise<ToolsConf>;
}

const MAX_BYTES = 256 * 1024;
const NOTHING = Buffer.alloc(0);
const ABSENT = 'absent';

export interface ToolsConfOptions {
  path: string;
  gate: FreezeGate;
  log: Log;
}

export function openToolsConf({ path, gate, log }: ToolsConfOptions): ToolsConfFile {
  let conf = parseToolsConf(NOTHING, log);
  /** Of which state of the file that is, or what went wrong with it. */
  let known = ABSENT;
  let reading: Promise<void> | null = null;

  async function refresh(): Promise<void> {
    const found = await stateOf(path);
    if (found === known) return;
    known = found;
    try {
      conf = parseToolsConf(found === ABSENT ? NOTHING : await readWhole(path), log);
    } catch (error) {
      log.warning(
        `${path}: ${error instanceof Error ? error.message : String(error)}; what it said before holds`,
      );
    }
  }

  return {
    async read() {
      if (gate.frozen) return conf;
      reading ??= gate.pass(refresh).finally(() => {
        reading = null;
      });
      await reading;
      return conf;
    },
  };
}

/** @throws {KeyFileError} for a line that is none */
export function parseToolsConf(bytes: Uint8Array, log: Log): ToolsConf {
  const groups = new Map<string, KeyFileGroup>();
  // finds the errors of all groups
  readKeyFile(bytes, '');

  function value<T>(group: string, key: string, read: (group: KeyFileGroup) => T | undefined): T | undefined {
    const known = groups.get(group) ?? readKeyFile(bytes, group);
    groups.set(group, known);
    try {
      return read(known);
    } catch (error) {
      log.warning(`tools.conf: [${group}] ${key}: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
  }

  return {
    text: (group, key) => value(group, key, (keys) => keys.text(key)?.trimEnd()),
    flag: (group, key) => value(group, key, (keys) => keys.flag(key)),
    number: (group, key) => value(group, key, (keys) => wholeNumber(keys.text(key))),
  };
}

function wholeNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\s*[-+]?\d{1,10}\s*$/.test(text)) throw new Error('not a whole number');
  return Number(text);
}

/** Another text when the file is another one, or has changed. */
async function stateOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeMs } = await fs.stat(path);
    return [dev, ino, size, mtimeMs].join(' ');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ENOTDIR' ? ABSENT : `unreadable: ${code}`;
  }
}

async function readWhole(path: string): Promise<Buffer> {
  // non-blocking, since opening a FIFO waits for its writer
  await using file = await fs.open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  const stat = await file.stat();
  if (!stat.isFile()) throw new Error('not a regular file');
  if (stat.size > MAX_BYTES) throw new Error('too long');
  return file.readFile();
}
