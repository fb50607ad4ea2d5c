/**
 * `chr-agent scripts`: switches the administrator's hook scripts off and on. The running daemon does it, since it is in force at once
 * then; without one the file is changed, which the next daemon reads.
 */
import { createFreezeGate } from '../../guest/freeze-gate.ts';
import {
  HOOK_NAMES,
  type HookName,
  type HookSettings,
  isHookName,
  openHookSettings,
} from '../../scripts/hook-settings.ts';
import { type Config, devConfig, devDirectory, loadConfig } from '../config.ts';
import { ControlCallError, callControl } from '../control-client.ts';
import type { HookSetting } from '../control-messages.ts';
import { formatTable } from '../status.ts';
import {
  type CliContext,
  CONFIG_OPTION,
  HELP_OPTION,
  JSON_OPTION,
  parseOptions,
  printJson,
  type Subcommand,
  UsageError,
} from './command.ts';
import { EXIT } from './exit-codes.ts';

const USAGE = `usage: chr-agent scripts list [NAME...] [--json]
       chr-agent scripts enable|disable [NAME...] [--json]

Lists the hook scripts with their settings, or switches them on or off; without a NAME all of them.
The names are ${HOOK_NAMES.join(', ')}.

A script of a power operation runs only if the host allows it too ('run VMware Tools scripts').

  --json          the list as JSON
  --config FILE   the daemon's configuration
  --dev           of the daemon that was started with run --dev

The settings hold over restarts. No running daemon is needed.
Exit status: 0 done, 1 refused or failed.
`;

export const scripts: Subcommand = async (argv, context) => {
  const [action, ...rest] = argv;
  if (action === '--help' || action === '-h') {
    context.out(USAGE);
    return EXIT.ok;
  }
  if (action === undefined) throw new UsageError('An action is missing');
  if (action !== 'list' && action !== 'enable' && action !== 'disable')
    throw new UsageError(`Unknown action '${action}'`);
  const firstOption = rest.findIndex((word) => word.startsWith('-'));
  const words = firstOption < 0 ? rest : rest.slice(0, firstOption);
  const options = parseOptions(rest.slice(words.length), {
    ...HELP_OPTION,
    ...JSON_OPTION,
    ...CONFIG_OPTION,
    dev: { type: 'boolean' },
  });
  if (options.help) {
    context.out(USAGE);
    return EXIT.ok;
  }
  const names = words.map(hookName);
  const { config } = loadConfig(options.config, context.env);
  const own = options.dev ? devConfig(config, devDirectory(context.env, process.getuid?.() ?? 0)) : config;
  const place = await settingsPlace(own, context);
  if (action !== 'list') await place.set(names.length === 0 ? HOOK_NAMES : names, action === 'enable');
  const list = (await place.list()).filter(({ name }) => names.length === 0 || names.includes(name));
  if (options.json) printJson(context, list);
  else context.out(formatScripts(list));
  return EXIT.ok;
};

function hookName(word: string): HookName {
  if (isHookName(word)) return word;
  throw new UsageError(`Unknown script '${word}'`);
}

interface SettingsPlace {
  list(): Promise<readonly HookSetting[]>;
  set(names: readonly HookName[], enabled: boolean): Promise<void>;
}

/** The daemon if it runs, else the file. @throws {ControlCallError} if it runs but may not be asked */
async function settingsPlace({ agent }: Config, context: CliContext): Promise<SettingsPlace> {
  const socket = agent.controlSocket;
  try {
    await callControl(socket, 'scripts');
  } catch (error) {
    if (!(error instanceof ControlCallError) || error.failure !== 'not-running') throw error;
    return fileOf(agent.stateDir, context);
  }
  return {
    list: () => callControl(socket, 'scripts'),
    async set(names, enabled) {
      const { saved } = await callControl(socket, 'scripts-set', { names, enabled });
      if (!saved) context.err('chr-agent: in force; it is saved when the file systems are thawed\n');
    },
  };
}

function fileOf(stateDir: string, context: CliContext): SettingsPlace {
  const warn = (text: string) => context.err(`chr-agent: ${text}\n`);
  const log = { error: warn, warning: warn, info() {}, debug() {} };
  const settings: HookSettings = openHookSettings({ stateDir, gate: createFreezeGate(), log });
  return {
    list: async () => HOOK_NAMES.map((name) => ({ name, enabled: settings.isEnabled(name) })),
    set: (names, enabled) => settings.setEnabled(names, enabled),
  };
}

/** For people; ends in a newline. */
export function formatScripts(list: readonly HookSetting[]): string {
  return formatTable([
    ['SCRIPT', 'SETTING'],
    ...list.map(({ name, enabled }) => [name, enabled ? 'enabled' : 'disabled']),
  ]);
}
