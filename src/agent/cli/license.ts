/** `chr-agent license`: licensing.md "Console". What changes something is done by the daemon; what only reads works without. */
import { readFileSync } from 'node:fs';
import { upgradesAllowed } from '../../license/lifecycle.ts';
import type { LicenseReport } from '../../license/report.ts';
import { MAX_TOKEN_BYTES } from '../../license/token.ts';
import { type Config, devConfig, devDirectory, loadConfig } from '../config.ts';
import { ControlCallError, callControl } from '../control-client.ts';
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
import { reportFromFiles } from './license-files.ts';
import { formatLicense, licenseJson, NEW_ID_HINT } from './license-print.ts';
import { renew } from './license-renew.ts';

const USAGE = `usage: chr-agent license print [--json]
       chr-agent license renew [--account NAME] [--level LEVEL]
       chr-agent license generate-new-id
       chr-agent license import FILE
       chr-agent license upgrades [--json]

  print            system id, level and dates (UTC)
  renew            asks account, password and level, and takes a trial or license from the account server
  generate-new-id  a new system id, before a trial or license is taken
  import FILE      takes a token from a file
  upgrades         whether the software may be upgraded: prints yes or no

  --config FILE    the daemon's configuration
  --dev            of the daemon that was started with run --dev

renew reads its answers from stdin, a line each; the password is not shown. print and upgrades need no running daemon.
Exit status: 0 done (upgrades: yes), 1 refused or failed (upgrades: no), 3 the daemon is needed and does not run.
`;

const OPTIONS = { ...HELP_OPTION, ...CONFIG_OPTION, dev: { type: 'boolean' } } as const;

type Action = (argv: readonly string[], context: CliContext) => Promise<number>;

const ACTIONS: Readonly<Record<string, Action>> = {
  print,
  renew: renewByHand,
  'generate-new-id': generateNewId,
  import: importFile,
  upgrades,
};

export const license: Subcommand = async (argv, context) => {
  const [name, ...rest] = argv;
  if (name === '--help' || name === '-h' || rest.includes('--help') || rest.includes('-h')) {
    context.out(USAGE);
    return EXIT.ok;
  }
  if (name === undefined) throw new UsageError('An action is missing');
  const action = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
  if (action === undefined) throw new UsageError(`Unknown action '${name}'`);
  try {
    return await action(rest, context);
  } catch (error) {
    if (!(error instanceof ControlCallError)) throw error;
    context.err(`chr-agent: ${error.message}\n`);
    return error.failure === 'not-running' ? EXIT.notRunning : EXIT.failure;
  }
};

async function print(argv: readonly string[], context: CliContext): Promise<number> {
  const options = parseOptions(argv, { ...OPTIONS, ...JSON_OPTION });
  const report = await reportOf(configOf(options, context), context);
  if (options.json) printJson(context, licenseJson(report));
  else context.out(formatLicense(report));
  // not on stdout, whose form is documented
  if (!options.json && report.state === 'free' && report.canHaveNewId) context.err(NEW_ID_HINT);
  return EXIT.ok;
}

async function upgrades(argv: readonly string[], context: CliContext): Promise<number> {
  const options = parseOptions(argv, { ...OPTIONS, ...JSON_OPTION });
  const isAllowed = upgradesAllowed(await reportOf(configOf(options, context), context));
  if (options.json) printJson(context, { upgrades: isAllowed });
  else context.out(isAllowed ? 'yes\n' : 'no\n');
  return isAllowed ? EXIT.ok : EXIT.failure;
}

async function generateNewId(argv: readonly string[], context: CliContext): Promise<number> {
  const { agent } = configOf(parseOptions(argv, OPTIONS), context);
  const systemId = await callControl(agent.controlSocket, 'license-new-id');
  context.out(`system-id: ${systemId}\n`);
  return EXIT.ok;
}

async function importFile(argv: readonly string[], context: CliContext): Promise<number> {
  // FILE comes first or last
  const isFirst = argv[0]?.startsWith('-') === false;
  const file = isFirst ? argv[0] : argv.at(-1);
  const rest = isFirst ? argv.slice(1) : argv.slice(0, -1);
  if (file === undefined || file.startsWith('-')) throw new UsageError('A FILE is missing');
  const { agent } = configOf(parseOptions(rest, OPTIONS), context);
  const contents = readFileSync(file);
  if (contents.length > MAX_TOKEN_BYTES) throw new Error(`${file}: too long for a token`);
  await callControl(agent.controlSocket, 'license-import', contents);
  context.out('status: done\n');
  return EXIT.ok;
}

async function renewByHand(argv: readonly string[], context: CliContext): Promise<number> {
  const options = parseOptions(argv, { ...OPTIONS, account: { type: 'string' }, level: { type: 'string' } });
  return renew(configOf(options, context).agent.controlSocket, options, context);
}

function configOf(
  options: { config?: string | undefined; dev?: boolean | undefined },
  context: CliContext,
): Config {
  const { config } = loadConfig(options.config, context.env);
  return options.dev ? devConfig(config, devDirectory(context.env, process.getuid?.() ?? 0)) : config;
}

/** From the daemon's memory, which also answers while file systems are frozen; without a daemon from the files. */
async function reportOf(config: Config, context: CliContext): Promise<LicenseReport> {
  try {
    return await callControl(config.agent.controlSocket, 'license');
  } catch (error) {
    if (!(error instanceof ControlCallError) || error.failure !== 'not-running') throw error;
    return reportFromFiles(config, context, Date.now());
  }
}
