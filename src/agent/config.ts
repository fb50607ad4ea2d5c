/**
 * The daemon's configuration: its typed form, its defaults, and how `/etc/chr-agent/agent.toml` is found and read.
 * docs/configuration.md lists the keys for users; `config-schema.ts` has the same list for the machine.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import type { QgaMethod } from '../protocols/qemu-ga/options.ts';
import { lineOfKey } from './config-location.ts';
import { validateConfig } from './config-schema.ts';
import type { LogLevel } from './log.ts';

export const DEFAULT_CONFIG_PATH = '/etc/chr-agent/agent.toml';

/** `auto`: as the hypervisor detection suggests; true and false whatever it says. */
export type ProtocolSwitch = boolean | 'auto';
/** `chr`: the behaviour of the CHR's documentation; `upstream`: that of qemu-ga and open-vm-tools. */
export type Compat = 'chr' | 'upstream';

export type { QgaMethod } from '../protocols/qemu-ga/options.ts';

export interface Config {
  readonly agent: {
    readonly logLevel: LogLevel;
    /** Where log lines are appended instead of stderr; only `chr-agent qemu-ga -l` sets it. */
    readonly logFile: string | null;
    /** What must survive a restart of the machine. */
    readonly stateDir: string;
    /** What must not. */
    readonly runtimeDir: string;
    readonly controlSocket: string;
    /** How long running jobs may go on after SIGTERM, 0-86,400,000. */
    readonly drainLimitMs: number;
  };
  readonly qemuGa: {
    readonly enabled: ProtocolSwitch;
    readonly compat: Compat;
    readonly method: QgaMethod;
    /** Device, socket path or `CID:PORT`; null is the method's default, which only the serial methods have. */
    readonly path: string | null;
    /** Command names that are refused. */
    readonly blockRpcs: readonly string[];
    /** If not empty: the only command names that are served. */
    readonly allowRpcs: readonly string[];
    /** The version that guest-info tells. */
    readonly version: string;
    /** Whether a missing device is waited for; only `chr-agent qemu-ga` without `--retry-path` says no. */
    readonly retryPath: boolean;
    /** qemu-ga's freeze hook program; only `chr-agent qemu-ga -F` sets it. */
    readonly fsfreezeHook: string | null;
  };
  readonly vmtools: {
    readonly enabled: ProtocolSwitch;
    readonly compat: Compat;
    /** open-vm-tools' configuration file, which may be missing. */
    readonly toolsConf: string;
    /** Whether a clock that is ahead of the host's may be set back without the host asking for that. */
    readonly timeSyncBackward: boolean;
    /** Who may use guest operations: users by name (`*`: all), and the members of groups. */
    readonly guestOperationsUsers: readonly string[];
    readonly guestOperationsGroups: readonly string[];
    /** Users who may use them without a password, where the account has none. */
    readonly allowEmptyPassword: readonly string[];
  };
  readonly xenstore: {
    readonly enabled: ProtocolSwitch;
    /** xenbus device or a xenstored's socket; null: `/dev/xen/xenbus`, else `/proc/xen/xenbus`. */
    readonly path: string | null;
    /** Whether a provisioning script runs at every boot instead of once. */
    readonly runAtEveryBoot: boolean;
    /** Of a provisioning script, above 0 up to 86,400,000. */
    readonly timeLimitMs: number;
    /** Whether a script's output is written as `otuput` too, as the published documentation spells it. */
    readonly misspeltOutput: boolean;
    /** What `control/feature-balloon` tells the host; null: nothing. */
    readonly featureBalloon: boolean | null;
  };
  readonly shaper: {
    readonly enabled: ProtocolSwitch;
    /** Globs over interface names. */
    readonly interfaces: readonly string[];
  };
  readonly license: {
    readonly stateDir: string;
    /** Where the vendor's public keys are. */
    readonly keysDir: string;
    /** URL, or null: no renewal. */
    readonly accountServer: string | null;
    /** Certificates that the account server's is checked against, or null for the system's. */
    readonly caFile: string | null;
  };
  readonly scripts: {
    readonly interpreter: string;
    readonly filesDir: string;
    /** Of a script started by a host command, above 0 up to 86,400,000. */
    readonly timeLimitMs: number;
    /** Between SIGTERM and SIGKILL when a script is out of time. */
    readonly graceMs: number;
  };
  readonly freeze: {
    /** After which frozen file systems are thawed whatever the host says, 0 to 86,400,000; 0: never by time. */
    readonly timeLimitMs: number;
    /** Where the hook scripts are. */
    readonly hooksDir: string;
  };
}

export interface ConfigProblem {
  readonly file: string;
  /** 1-based; null when the file as a whole cannot be read. */
  readonly line: number | null;
  /** Dotted, as in `qemu-ga.method`; null for a syntax error. */
  readonly key: string | null;
  readonly problem: string;
}

/** A configuration that cannot be used. The message has one line for each problem: `file:line: key: problem`. */
export class ConfigError extends Error {
  override name = 'ConfigError';
  readonly problems: readonly ConfigProblem[];
  readonly file: string;
  readonly line: number | null;
  readonly key: string | null;

  constructor(first: ConfigProblem, ...others: ConfigProblem[]) {
    const problems = [first, ...others];
    super(problems.map(describe).join('\n'));
    this.problems = problems;
    this.file = first.file;
    this.line = first.line;
    this.key = first.key;
  }
}

function describe({ file, line, key, problem }: ConfigProblem): string {
  const place = line === null ? file : `${file}:${line}`;
  return key === null ? `${place}: ${problem}` : `${place}: ${key}: ${problem}`;
}

/**
 * Reads the text of a configuration file.
 * @param fileName only for messages
 * @throws {ConfigError} with every problem that was found
 */
export function parseConfig(text: string, fileName: string): Config {
  let document: unknown;
  try {
    document = parse(text, { unsafeKeyBehaviour: 'throw' });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // "Invalid TOML document: reason", then an excerpt with a caret
    const reason = (error.message.split('\n', 1)[0] ?? '').replace(/^Invalid TOML document: /, '');
    throw new ConfigError({ file: fileName, line: error.line, key: null, problem: reason });
  }
  const result = validateConfig(document);
  if (result.ok) return result.config;
  const [first, ...others] = result.problems.map(({ path, problem }) => ({
    file: fileName,
    line: lineOfKey(text, path),
    key: path.join('.') || null,
    problem,
  }));
  if (first === undefined) throw new Error('a refused configuration without a problem');
  throw new ConfigError(first, ...others);
}

/** The configuration of an empty file. */
export function defaultConfig(): Config {
  return parseConfig('', DEFAULT_CONFIG_PATH);
}

export interface LoadedConfig {
  readonly config: Config;
  /** The file it was read from; null: there is none, all is default. */
  readonly path: string | null;
}

/**
 * Reads the configuration file: `path` (from `--config`), else `CHR_AGENT_CONFIG`, else the default one, which alone
 * may be missing.
 * @throws {ConfigError}
 */
export function loadConfig(path: string | undefined, env: NodeJS.ProcessEnv): LoadedConfig {
  const named = path ?? (env.CHR_AGENT_CONFIG || undefined);
  const file = named ?? DEFAULT_CONFIG_PATH;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (named === undefined && code === 'ENOENT') return { config: defaultConfig(), path: null };
    throw new ConfigError({ file, line: null, key: null, problem: `cannot be read (${code ?? error})` });
  }
  return { config: parseConfig(text, file), path: file };
}

/**
 * What `--dev` makes of a configuration: everything below `dir`, the QEMU guest agent on a unix socket there, the other
 * protocols and the shaper only where the configuration says `enabled = true`.
 */
export function devConfig(base: Config, dir: string): Config {
  return {
    ...base,
    agent: {
      ...base.agent,
      stateDir: join(dir, 'state'),
      runtimeDir: dir,
      controlSocket: join(dir, 'control.sock'),
    },
    qemuGa: { ...base.qemuGa, enabled: true, method: 'unix-listen', path: join(dir, 'qga.sock') },
    vmtools: { ...base.vmtools, enabled: base.vmtools.enabled === true },
    // `make run` starts a store there
    xenstore: {
      ...base.xenstore,
      enabled: true,
      path: base.xenstore.path ?? join(dir, 'xenstore/domU-1.sock'),
    },
    shaper: { ...base.shaper, enabled: base.shaper.enabled === true },
    license: { ...base.license, stateDir: join(dir, 'license') },
    scripts: { ...base.scripts, filesDir: join(dir, 'files') },
  };
}

/** Where `--dev` keeps its files: below the user's runtime directory, else in /tmp. */
export function devDirectory(env: NodeJS.ProcessEnv, uid: number): string {
  return env.XDG_RUNTIME_DIR ? join(env.XDG_RUNTIME_DIR, 'chr-agent-dev') : `/tmp/chr-agent-dev-${uid}`;
}
