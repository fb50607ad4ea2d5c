/** `chr-agent status`: asks the running daemon. */
import { formatStatus } from '../status.ts';
import { ASK_USAGE, askDaemon } from './ask.ts';
import type { Subcommand } from './command.ts';

const USAGE = `usage: chr-agent status [--json] [--config FILE] [--dev]

${ASK_USAGE}`;

export const status: Subcommand = (argv, context) => askDaemon(argv, context, 'status', USAGE, formatStatus);
