/** What the subcommands that ask the running daemon have in common: options, the question, and what to say if it fails. */
import { devConfig, devDirectory, loadConfig } from '../config.ts';
import { ControlCallError, callControl } from '../control-client.ts';
import type { ControlCommand, ControlResults } from '../control-messages.ts';
import {
  type CliContext,
  CONFIG_OPTION,
  HELP_OPTION,
  JSON_OPTION,
  parseOptions,
  printJson,
} from './command.ts';
import { EXIT } from './exit-codes.ts';

/** The part of the usage text that is the same for all of them. */
export const ASK_USAGE = `  --json          the same as JSON
  --config FILE   the daemon's configuration, which names its control socket
  --dev           ask the daemon that was started with run --dev

Exit status: 0 it runs, 3 it does not, 1 it does not answer or may not be asked.
`;

/** Asks the daemon one thing and prints the answer. @returns the exit status */
export async function askDaemon<Command extends ControlCommand>(
  argv: readonly string[],
  context: CliContext,
  command: Command,
  usage: string,
  format: (answer: ControlResults[Command]) => string,
): Promise<number> {
  const options = parseOptions(argv, {
    ...HELP_OPTION,
    ...JSON_OPTION,
    ...CONFIG_OPTION,
    dev: { type: 'boolean' },
  });
  if (options.help) {
    context.out(usage);
    return EXIT.ok;
  }
  let { config } = loadConfig(options.config, context.env);
  if (options.dev) config = devConfig(config, devDirectory(context.env, process.getuid?.() ?? 0));
  try {
    const answer = await callControl(config.agent.controlSocket, command);
    if (options.json) printJson(context, answer);
    else context.out(format(answer));
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof ControlCallError)) throw error;
    return report(error, options.json === true, context);
  }
}

function report(error: ControlCallError, json: boolean, context: CliContext): number {
  if (json) printJson(context, { error: error.message });
  context.err(`chr-agent: ${error.message}\n`);
  return error.failure === 'not-running' ? EXIT.notRunning : EXIT.failure;
}
