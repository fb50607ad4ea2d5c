/** `chr-agent jobs`: asks the running daemon which scripts run and what became of the others. */
import type { JobSummary } from '../control-messages.ts';
import { formatTable } from '../status.ts';
import { ASK_USAGE, askDaemon } from './ask.ts';
import type { Subcommand } from './command.ts';

const USAGE = `usage: chr-agent jobs [--json] [--config FILE] [--dev]

Lists the scripts that run, and those whose result nobody has asked for yet.

${ASK_USAGE}`;

export const jobs: Subcommand = (argv, context) => askDaemon(argv, context, 'jobs', USAGE, formatJobs);

/** For people; ends in a newline. */
export function formatJobs(list: readonly JobSummary[]): string {
  if (list.length === 0) return 'no scripts\n';
  return formatTable([
    ['PID', 'ORIGIN', 'STARTED', 'STATE', 'OUTPUT'],
    ...list.map(({ pid, origin, startedAt, state, outputBytes }) => [
      String(pid),
      origin,
      startedAt,
      state,
      `${outputBytes} bytes`,
    ]),
  ]);
}
