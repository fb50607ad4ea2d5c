/** `chr-agent freeze-status`: asks the running daemon whether file systems are frozen. */
import type { QuiesceStatus } from '../../quiesce/quiescer.ts';
import { formatTable } from '../status.ts';
import { ASK_USAGE, askDaemon } from './ask.ts';
import type { Subcommand } from './command.ts';

const USAGE = `usage: chr-agent freeze-status [--json] [--config FILE] [--dev]

Tells whether file systems are frozen, by whom, since when, and when the guard will thaw them.

${ASK_USAGE}`;

export const freezeStatus: Subcommand = (argv, context) =>
  askDaemon(argv, context, 'freeze-status', USAGE, (status) => formatFreezeStatus(status));

/** For people; ends in a newline. */
export function formatFreezeStatus(status: QuiesceStatus, nowMs = Date.now()): string {
  const { state, owner, sinceMs, mountPoints, timeLimitMs, notice } = status;
  const rows: [string, string][] = [['file systems', state]];
  if (owner !== null) rows.push(['by', owner]);
  if (sinceMs !== null) {
    const seconds = Math.max(0, Math.round((nowMs - sinceMs) / 1000));
    rows.push(['since', `${new Date(sinceMs).toISOString()} (${seconds} s)`]);
  }
  if (state === 'frozen') rows.push(['time limit', timeLimitMs === 0 ? 'none' : `${timeLimitMs / 1000} s`]);
  if (notice !== null) rows.push(['notice', notice]);
  const frozen = mountPoints.map((each): [string] => [`  ${each}`]);
  return formatTable(rows) + formatTable(frozen);
}
