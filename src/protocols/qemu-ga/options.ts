/**
 * qemu-ga's command line and configuration file: spec qemu-ga.md section 7 (QEMU 10.2.2, with the older names that
 * scripts still use). Pure: reads argument lists and file contents, touches no file.
 */

import { encodeText, type KeyFileGroup, readKeyFile } from '../key-file.ts';
import { getoptLong, type OptionSpec } from './getopt.ts';

/** The version of qemu-ga that this agent stands for. */
export const QGA_VERSION = '10.2.2';
export const QGA_DEFAULT_CONFIG_PATH = '/etc/qemu/qemu-ga.conf';

export const QGA_METHODS = ['virtio-serial', 'isa-serial', 'unix-listen', 'vsock-listen'] as const;
export type QgaMethod = (typeof QGA_METHODS)[number];

/** The device of a method; the listening ones have none, their path must be given. */
export const QGA_DEFAULT_PATHS: Readonly<Record<QgaMethod, string | null>> = {
  'virtio-serial': '/dev/virtio-ports/org.qemu.guest_agent.0',
  'isa-serial': '/dev/ttyS0',
  'unix-listen': null,
  'vsock-listen': null,
};

const DEFAULT_FSFREEZE_HOOK = '/etc/qemu/fsfreeze-hook';
const DEFAULT_PIDFILE = '/var/run/qemu-ga.pid';
const DEFAULT_STATEDIR = '/var/run';

/** What one source (file or command line) says; undefined where it says nothing. */
export interface QgaSettings {
  daemon?: boolean;
  method?: string;
  path?: string;
  logfile?: string;
  pidfile?: string;
  fsfreezeHook?: string;
  statedir?: string;
  verbose?: boolean;
  retryPath?: boolean;
  blockRpcs: string[];
  allowRpcs: string[];
}

/** The options in force. */
export interface QgaOptions {
  readonly daemon: boolean;
  /** As given: the dump shows a wrong one too. */
  readonly method: string;
  readonly path: string;
  readonly logfile: string | null;
  readonly pidfile: string;
  readonly fsfreezeHook: string | null;
  readonly statedir: string;
  readonly verbose: boolean;
  readonly retryPath: boolean;
  /** Each list given is reversed, as qemu-ga keeps (and dumps) it. */
  readonly blockRpcs: readonly string[];
  readonly allowRpcs: readonly string[];
}

export type QgaCommandLine =
  | {
      readonly kind: 'settings';
      readonly settings: QgaSettings;
      readonly configPath: string | null;
      readonly dump: boolean;
    }
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }
  /** `-b help`: the names of all commands. */
  | { readonly kind: 'list-commands' }
  /** The text is getopt's, without the program's name. */
  | { readonly kind: 'error'; readonly message: string };

/** Options that contradict each other or lack something. The message is qemu-ga's. */
export class QgaOptionsError extends Error {
  override name = 'QgaOptionsError';
}

const OPTION_SPECS: readonly OptionSpec[] = [
  { long: 'help', short: 'h', argument: 'none' },
  { long: 'version', short: 'V', argument: 'none' },
  { long: 'dump-conf', short: 'D', argument: 'none' },
  { long: 'config', short: 'c', argument: 'required' },
  { long: 'logfile', short: 'l', argument: 'required' },
  { long: 'pidfile', short: 'f', argument: 'required' },
  { long: 'fsfreeze-hook', short: 'F', argument: 'optional' },
  { long: 'verbose', short: 'v', argument: 'none' },
  { long: 'method', short: 'm', argument: 'required' },
  { long: 'path', short: 'p', argument: 'required' },
  { long: 'daemonize', short: 'd', argument: 'none' },
  { long: 'block-rpcs', short: 'b', argument: 'required' },
  { long: 'blacklist', short: 'b', argument: 'required' },
  { long: 'allow-rpcs', short: 'a', argument: 'required' },
  { long: 'statedir', short: 't', argument: 'required' },
  { long: 'retry-path', short: 'r', argument: 'none' },
];

/** Reads an argument list (without the program's name). What asks for an answer (`-h`, `-V`) ends it where it stands. */
export function parseQgaCommandLine(argv: readonly string[]): QgaCommandLine {
  const settings: QgaSettings = { blockRpcs: [], allowRpcs: [] };
  let configPath: string | null = null;
  let dump = false;
  for (const word of getoptLong(argv, OPTION_SPECS)) {
    if (word.kind === 'error') return word;
    if (word.kind === 'positional') continue;
    const value = word.value ?? '';
    switch (word.short) {
      case 'h':
        return { kind: 'help' };
      case 'V':
        return { kind: 'version' };
      case 'b':
      case 'a':
        if (value === 'help' || value === '?') return { kind: 'list-commands' };
        (word.short === 'b' ? settings.blockRpcs : settings.allowRpcs).push(...splitList(value));
        break;
      case 'D':
        dump = true;
        break;
      case 'c':
        configPath = value;
        break;
      case 'F':
        settings.fsfreezeHook = word.value ?? DEFAULT_FSFREEZE_HOOK;
        break;
      case 'm':
        settings.method = value;
        break;
      case 'p':
        settings.path = value;
        break;
      case 'l':
        settings.logfile = value;
        break;
      case 'f':
        settings.pidfile = value;
        break;
      case 't':
        settings.statedir = value;
        break;
      case 'd':
        settings.daemon = true;
        break;
      case 'v':
        settings.verbose = true;
        break;
      case 'r':
        settings.retryPath = true;
        break;
    }
  }
  return { kind: 'settings', settings, configPath, dump };
}

/**
 * Reads the contents of a configuration file, of which group `[general]` counts.
 * @throws {KeyFileError}
 */
export function readQgaConfigFile(contents: Uint8Array): QgaSettings {
  const group = readKeyFile(contents, 'general');
  const settings: QgaSettings = {
    // the old name wins where both stand, as in qemu-ga up to 9.0
    blockRpcs: splitList(group.text('blacklist') ?? group.text('block-rpcs') ?? ''),
    allowRpcs: splitList(group.text('allow-rpcs') ?? ''),
  };
  return Object.assign(settings, withoutUndefined(readKeys(group)));
}

function readKeys(group: KeyFileGroup) {
  return {
    daemon: group.flag('daemon'),
    method: group.text('method'),
    path: group.text('path'),
    logfile: group.text('logfile'),
    pidfile: group.text('pidfile'),
    fsfreezeHook: group.text('fsfreeze-hook'),
    statedir: group.text('statedir'),
    verbose: group.flag('verbose'),
    retryPath: group.flag('retry-path'),
  };
}

/**
 * Joins file and command line: the latter's values win, the lists accumulate.
 * @throws {QgaOptionsError} without a path for a method that has no default
 */
export function resolveQgaOptions(file: QgaSettings | null, commandLine: QgaSettings): QgaOptions {
  const joined = { ...file, ...commandLine };
  const method = joined.method ?? 'virtio-serial';
  const path = joined.path ?? (isQgaMethod(method) ? QGA_DEFAULT_PATHS[method] : null);
  if (path === null) throw new QgaOptionsError('must specify a path for this channel');
  return {
    daemon: joined.daemon ?? false,
    method,
    path,
    logfile: joined.logfile ?? null,
    pidfile: joined.pidfile ?? DEFAULT_PIDFILE,
    fsfreezeHook: joined.fsfreezeHook ?? null,
    statedir: joined.statedir ?? DEFAULT_STATEDIR,
    verbose: joined.verbose ?? false,
    retryPath: joined.retryPath ?? false,
    blockRpcs: [...(file?.blockRpcs ?? []), ...commandLine.blockRpcs],
    allowRpcs: [...(file?.allowRpcs ?? []), ...commandLine.allowRpcs],
  };
}

export function isQgaMethod(method: string): method is QgaMethod {
  return (QGA_METHODS as readonly string[]).includes(method);
}

/** The options as a configuration file (`-D`). */
export function dumpQgaOptions(options: QgaOptions): string {
  const pairs: [string, string | boolean | null][] = [
    ['daemon', options.daemon],
    ['method', options.method],
    ['path', options.path],
    ['logfile', options.logfile],
    ['pidfile', options.pidfile],
    ['fsfreeze-hook', options.fsfreezeHook],
    ['statedir', options.statedir],
    ['verbose', options.verbose],
    ['retry-path', options.retryPath],
    ['block-rpcs', options.blockRpcs.join(',')],
    ['allow-rpcs', options.allowRpcs.join(',')],
  ];
  const lines = pairs.flatMap(([key, value]) => {
    if (value === null) return [];
    return [`${key}=${typeof value === 'string' ? encodeText(value) : value}\n`];
  });
  return `[general]\n${lines.join('')}`;
}

function splitList(text: string): string[] {
  return text === '' ? [] : text.split(',').reverse();
}

/** Without the keys whose value is undefined. */
function withoutUndefined<T extends object>(source: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(source).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
