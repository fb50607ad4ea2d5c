/** `chr-agent config check`: reads the configuration as the daemon would. */
import { ConfigError, type LoadedConfig, loadConfig } from '../config.ts';
import {
  CONFIG_OPTION,
  HELP_OPTION,
  JSON_OPTION,
  parseOptions,
  printJson,
  type Subcommand,
  UsageError,
} from './command.ts';
import { EXIT } from './exit-codes.ts';

const USAGE = `usage: chr-agent config check [--json] [--config FILE]

  --json          the problems, or the configuration in force with all its defaults, as JSON
  --config FILE   the file to check

Exit status: 0 it is good, 78 it is not.
`;

export const config: Subcommand = async (argv, context) => {
  const [action, ...rest] = argv;
  if (action === '--help' || action === '-h') {
    context.out(USAGE);
    return EXIT.ok;
  }
  if (action !== 'check')
    throw new UsageError(action ? `Unknown action '${action}'` : 'An action is missing');
  const options = parseOptions(rest, { ...HELP_OPTION, ...JSON_OPTION, ...CONFIG_OPTION });
  if (options.help) {
    context.out(USAGE);
    return EXIT.ok;
  }
  let loaded: LoadedConfig;
  try {
    loaded = loadConfig(options.config, context.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    if (options.json) printJson(context, { ok: false, problems: error.problems });
    else context.err(`${error.message}\n`);
    return EXIT.badConfig;
  }
  if (options.json) printJson(context, { ok: true, file: loaded.path, config: loaded.config });
  else context.out(loaded.path ? `${loaded.path}: ok\n` : 'no configuration file: all defaults\n');
  return EXIT.ok;
};
