/** `chr-agent status`: asks the running daemon. */
import { devConfig, devDirectory, loadConfig } from '../config.ts';
import { ControlCallError, callControl } from '../control-client.ts';
import { formatStatus } from '../status.ts';
import {
  type CliContext,
  CONFIG_OPTION,
  HELP_OPTION,
  JSON_OPTION,
  parseOptions,
  printJson,
  type Subcommand,
} from './command.ts';
import { EXIT } from './exit-codes.ts';

const USAGE = `usage: chr-agent status [--json] [--config FILE] [--dev]

  --json          the same as JSON
  --config FILE   the daemon's configuration, which names its control socket
  --dev           ask the daemon that was started with run --dev

Exit status: 0 it runs, 3 it does not, 1 it does not answer or may not be asked.
`;

export const status: Subcommand = async (argv, context) => {
  const options = parseOptions(argv, {
    ...HELP_OPTION,
    ...JSON_OPTION,
    ...CONFIG_OPTION,
    dev: { type: 'boolean' },
  });
  if (options.help) {
    context.out(USAGE);
    return EXIT.ok;
  }
  let { config } = loadConfig(options.config, context.env);
  if (options.dev) config = devConfig(config, devDirectory(context.env, process.getuid?.() ?? 0));
  try {
    const answer = await callControl(config.agent.controlSocket, 'status');
    if (options.json) printJson(context, answer);
    else context.out(formatStatus(answer));
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof ControlCallError)) throw error;
    return report(error, options.json === true, context);
  }
};

function report(error: ControlCallError, json: boolean, context: CliContext): number {
  if (json) printJson(context, { error: error.message });
  context.err(`chr-agent: ${error.message}\n`);
  return error.failure === 'not-running' ? EXIT.notRunning : EXIT.failure;
}
