/**
 * The keys of agent.toml, their types, ranges and defaults, and how they become a {@link Config}. Every key is optional;
 * an unknown one is an error. docs/configuration.md says the same in words.
 */

import { join } from 'node:path';
import * as v from 'valibot';
import { accountServerProblem } from '../license/account-server.ts';
import { QGA_METHODS, QGA_VERSION } from '../protocols/qemu-ga/options.ts';
import type { Config } from './config.ts';
import { LOG_LEVELS } from './log.ts';

export interface SchemaProblem {
  readonly path: readonly string[];
  readonly problem: string;
}

export type ValidatedConfig =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly problems: readonly SchemaProblem[] };

const DAY_SECONDS = 86_400;
/** Without a key: qemu-ga knows no limit. */
const FREEZE_TIME_LIMIT_MS = { chr: 600_000, upstream: 0 };

const text = v.pipe(
  v.string('must be a string'),
  v.nonEmpty('must not be empty'),
  v.check(noNul, 'must not hold a NUL'),
);
const absolutePath = v.pipe(text, v.startsWith('/', 'must be an absolute path'));
const stringList = v.array(text, 'must be an array of strings');
const flag = v.boolean('must be true or false');
const protocolSwitch = v.optional(
  v.union([v.boolean(), v.literal('auto')], 'must be one of true, false, "auto"'),
  'auto',
);
const compat = v.optional(oneOf(['chr', 'upstream']), 'chr');

const schema = table({
  agent: table({
    'log-level': v.optional(oneOf(LOG_LEVELS), 'info'),
    'state-dir': v.optional(absolutePath, '/var/lib/chr-agent'),
    'runtime-dir': v.optional(absolutePath, '/run/chr-agent'),
    'control-socket': v.optional(absolutePath),
    'drain-limit': seconds(10, 'zero allowed'),
  }),
  'qemu-ga': v.pipe(
    table({
      enabled: protocolSwitch,
      compat,
      method: v.optional(oneOf(QGA_METHODS), 'virtio-serial'),
      path: v.optional(text),
      'block-rpcs': v.optional(stringList, []),
      'allow-rpcs': v.optional(stringList, []),
      version: v.optional(text, QGA_VERSION),
    }),
    v.forward(
      v.check(
        ({ method, path }) => path !== undefined || !method.endsWith('-listen'),
        'is required with this method',
      ),
      ['path'],
    ),
    v.forward(
      v.check(
        ({ method, path }) =>
          method !== 'vsock-listen' || path === undefined || /^\d{1,10}:\d{1,10}$/.test(path),
        'must be CID:PORT with method vsock-listen',
      ),
      ['path'],
    ),
    v.forward(
      v.check(
        ({ method, path }) => method === 'vsock-listen' || path === undefined || path.startsWith('/'),
        'must be an absolute path',
      ),
      ['path'],
    ),
  ),
  vmtools: table({
    enabled: protocolSwitch,
    compat,
    'tools-conf': v.optional(absolutePath, '/etc/vmware-tools/tools.conf'),
    'time-sync-backward': v.optional(flag, false),
    'guest-operations-users': v.optional(stringList, ['root']),
    'guest-operations-groups': v.optional(stringList, ['chr-agent']),
    'allow-empty-password': v.optional(stringList, []),
  }),
  xenstore: table({
    enabled: protocolSwitch,
    path: v.optional(absolutePath),
    'run-at-every-boot': v.optional(flag, false),
    'time-limit': seconds(120, 'not zero'),
    'misspelt-output': v.optional(flag, true),
    'feature-balloon': v.optional(flag),
  }),
  shaper: table({
    enabled: protocolSwitch,
    interfaces: v.optional(stringList, ['*']),
  }),
  license: table({
    'state-dir': v.optional(absolutePath),
    'keys-dir': v.optional(absolutePath, '/etc/chr-agent/license-keys.d'),
    'account-server': v.optional(
      v.pipe(
        text,
        v.check(
          (url) => accountServerProblem(url) === null,
          ({ input }) => accountServerProblem(input) ?? '',
        ),
      ),
    ),
    'ca-file': v.optional(absolutePath),
  }),
  scripts: table({
    interpreter: v.optional(absolutePath, '/bin/sh'),
    'files-dir': v.optional(absolutePath),
    'time-limit': seconds(120, 'not zero'),
    grace: seconds(5, 'zero allowed'),
  }),
  freeze: table({
    'time-limit': v.optional(secondsValue('zero allowed')),
    'hooks-dir': v.optional(absolutePath, '/etc/chr-agent/hooks'),
  }),
});

/** Checks a parsed TOML document, tells every problem found (of unknown keys, the first in each table). */
export function validateConfig(document: unknown): ValidatedConfig {
  const result = v.safeParse(schema, document);
  if (result.success) return { ok: true, config: toConfig(result.output) };
  const problems: SchemaProblem[] = [];
  for (const issue of result.issues) {
    const path = (issue.path ?? []).map((item) => String(item.key));
    // a value that is wrong by itself often fails the checks between keys too
    if (problems.some((known) => known.path.join('.') === path.join('.'))) continue;
    problems.push({ path, problem: issue.message });
  }
  return { ok: false, problems };
}

function toConfig(file: v.InferOutput<typeof schema>): Config {
  const { agent, vmtools, xenstore, shaper, license, scripts, freeze } = file;
  const qemuGa = file['qemu-ga'];
  return {
    agent: {
      logLevel: agent['log-level'],
      logFile: null,
      stateDir: agent['state-dir'],
      runtimeDir: agent['runtime-dir'],
      controlSocket: agent['control-socket'] ?? join(agent['runtime-dir'], 'control.sock'),
      drainLimitMs: agent['drain-limit'],
    },
    qemuGa: {
      enabled: qemuGa.enabled,
      compat: qemuGa.compat,
      method: qemuGa.method,
      path: qemuGa.path ?? null,
      blockRpcs: qemuGa['block-rpcs'],
      allowRpcs: qemuGa['allow-rpcs'],
      version: qemuGa.version,
      retryPath: true,
      fsfreezeHook: null,
    },
    vmtools: {
      enabled: vmtools.enabled,
      compat: vmtools.compat,
      toolsConf: vmtools['tools-conf'],
      timeSyncBackward: vmtools['time-sync-backward'],
      guestOperationsUsers: vmtools['guest-operations-users'],
      guestOperationsGroups: vmtools['guest-operations-groups'],
      allowEmptyPassword: vmtools['allow-empty-password'],
    },
    xenstore: {
      enabled: xenstore.enabled,
      path: xenstore.path ?? null,
      runAtEveryBoot: xenstore['run-at-every-boot'],
      timeLimitMs: xenstore['time-limit'],
      misspeltOutput: xenstore['misspelt-output'],
      featureBalloon: xenstore['feature-balloon'] ?? null,
    },
    shaper: { enabled: shaper.enabled, interfaces: shaper.interfaces },
    license: {
      stateDir: license['state-dir'] ?? join(agent['state-dir'], 'license'),
      keysDir: license['keys-dir'],
      accountServer: license['account-server'] ?? null,
      caFile: license['ca-file'] ?? null,
    },
    scripts: {
      interpreter: scripts.interpreter,
      filesDir: scripts['files-dir'] ?? join(agent['state-dir'], 'files'),
      timeLimitMs: scripts['time-limit'],
      graceMs: scripts.grace,
    },
    freeze: {
      timeLimitMs: freeze['time-limit'] ?? FREEZE_TIME_LIMIT_MS[qemuGa.compat],
      hooksDir: freeze['hooks-dir'],
    },
  };
}

function noNul(value: string): boolean {
  return !value.includes('\0');
}

function oneOf<const T extends string>(options: readonly T[]) {
  return v.picklist(options, `must be one of ${options.join(', ')}`);
}

/** A number of seconds in the file, milliseconds (rounded up) in the {@link Config}. */
function seconds(defaultSeconds: number, zero: 'zero allowed' | 'not zero') {
  return v.optional(secondsValue(zero), defaultSeconds);
}

function secondsValue(zero: 'zero allowed' | 'not zero') {
  const range = zero === 'zero allowed' ? `from 0 to ${DAY_SECONDS}` : `above 0, up to ${DAY_SECONDS}`;
  return v.pipe(
    v.number('must be a number of seconds'),
    v.check(
      (value) => value <= DAY_SECONDS && (zero === 'zero allowed' ? value >= 0 : value > 0),
      `must be a number of seconds ${range}`,
    ),
    v.transform((value) => Math.ceil(value * 1000)),
  );
}

/** A table whose keys are all optional; a missing one is as an empty one. */
function table<const Entries extends v.ObjectEntries>(entries: Entries) {
  const known = Object.keys(entries).join(', ');
  return v.pipe(
    v.optional(v.custom<Record<string, unknown>>(isTable, 'must be a table'), {}),
    v.strictObject(entries, `unknown key; the keys here are ${known}`),
  );
}

function isTable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
