/** `chr-agent run`: reads the configuration and becomes the daemon. */
import { lstatSync, mkdirSync } from 'node:fs';
import { devConfig, devDirectory, loadConfig } from '../config.ts';
import { runDaemon } from '../daemon.ts';
import { LOG_LEVELS, type LogLevel } from '../log.ts';
import {
  type CliContext,
  CONFIG_OPTION,
  HELP_OPTION,
  parseOptions,
  type Subcommand,
  UsageError,
} from './command.ts';
import { EXIT } from './exit-codes.ts';

const USAGE = `usage: chr-agent run [--config FILE] [--log-level LEVEL] [--dev]

  --config FILE       instead of $CHR_AGENT_CONFIG or /etc/chr-agent/agent.toml
  --log-level LEVEL   error, warning, info or debug, whatever the file says
  --dev               for a developer's machine: all files in a directory of its own, the QEMU guest agent on a
                      unix socket there, and nothing that could hurt the machine is done

SIGTERM and SIGINT end it (running scripts get the time [agent] drain-limit), SIGHUP reads the file again.
Exit status: 0 after a signal, 1 failure, 2 usage, 78 bad configuration.
`;

export const run: Subcommand = async (argv, context) => {
  const options = parseOptions(argv, {
    ...HELP_OPTION,
    ...CONFIG_OPTION,
    'log-level': { type: 'string' },
    dev: { type: 'boolean' },
  });
  if (options.help) {
    context.out(USAGE);
    return EXIT.ok;
  }
  const level = options['log-level'];
  if (level !== undefined && !isLogLevel(level)) {
    throw new UsageError(`'--log-level' is one of ${LOG_LEVELS.join(', ')}`);
  }
  const dev = options.dev === true;
  const devDir = dev ? prepareDevDirectory(context) : null;
  const load = () => {
    const { config, path } = loadConfig(options.config, context.env);
    return { config: devDir === null ? config : devConfig(config, devDir), path };
  };
  const { config, path } = load();
  return runDaemon({
    config,
    configPath: path,
    dev,
    role: 'agent',
    reload: () => load().config,
    ...(level !== undefined && { logLevel: level }),
  });
};

/** Makes the directory of `--dev` and shuts the actions seam for this process and its children. */
function prepareDevDirectory(context: CliContext): string {
  process.env.CHR_AGENT_NO_ACTIONS = '1';
  const uid = process.getuid?.() ?? 0;
  const dir = devDirectory(context.env, uid);
  try {
    mkdirSync(dir, 0o700);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  // in /tmp anyone could have made it before us
  const stat = lstatSync(dir);
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o022) !== 0) {
    throw new Error(`${dir} is not a directory that only this user can write to`);
  }
  return dir;
}

function isLogLevel(word: string): word is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(word);
}
