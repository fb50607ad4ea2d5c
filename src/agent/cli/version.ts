/** `chr-agent version`. */
import { QGA_VERSION } from '../../protocols/qemu-ga/options.ts';
import { VERSION } from '../version.ts';
import { HELP_OPTION, JSON_OPTION, parseOptions, printJson, type Subcommand } from './command.ts';
import { EXIT } from './exit-codes.ts';

const USAGE = `usage: chr-agent version [--json]

Prints the agent's version; with --json also that of the runtime and of the qemu-ga it stands for.
`;

export const version: Subcommand = async (argv, context) => {
  const options = parseOptions(argv, { ...HELP_OPTION, ...JSON_OPTION });
  if (options.help) context.out(USAGE);
  else if (options.json)
    printJson(context, { version: VERSION, node: process.versions.node, qemuGa: QGA_VERSION });
  else context.out(`chr-agent ${VERSION}\n`);
  return EXIT.ok;
};
