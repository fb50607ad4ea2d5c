/** `chr-agent shaper show`: asks the running daemon which interfaces are limited, and which are not. */
import type { ShaperStatus } from '../../shaper/shaper-status.ts';
import { formatTable } from '../status.ts';
import { ASK_USAGE, askDaemon } from './ask.ts';
import { type Subcommand, UsageError } from './command.ts';
import { EXIT } from './exit-codes.ts';

const USAGE = `usage: chr-agent shaper show [--json] [--config FILE] [--dev]

Lists the interfaces with their upload limit, what went through it, and what is not limited although it should be.

${ASK_USAGE}`;

export const shaper: Subcommand = async (argv, context) => {
  const [action, ...rest] = argv;
  if (action === '--help' || action === '-h') {
    context.out(USAGE);
    return EXIT.ok;
  }
  if (action !== 'show') throw new UsageError(action ? `Unknown action '${action}'` : 'An action is missing');
  return askDaemon(rest, context, 'shaper', USAGE, formatShaper);
};

/** For people; ends in a newline. */
export function formatShaper(status: ShaperStatus): string {
  if (status.state === 'off') return `the shaper is off: ${status.why}\n`;
  const rows = status.interfaces.map(({ name, namespace, enforcement, counters }) => [
    name,
    namespace ?? '-',
    enforcement.state === 'limited' ? formatRate(enforcement.limitBitsPerSecond) : enforcement.state,
    counters === null ? '-' : String(counters.sentBytes),
    counters === null ? '-' : String(counters.drops),
    counters === null ? '-' : String(counters.backlogBytes),
    enforcement.state === 'limited' ? enforcement.leaf : '-',
  ]);
  const problems = status.interfaces.flatMap(({ name, namespace, enforcement }) =>
    enforcement.state === 'not enforced'
      ? [`${namespace === null ? name : `${name} in ${namespace}`}: ${enforcement.reason}`]
      : [],
  );
  const table =
    rows.length === 0
      ? 'no interface to limit\n'
      : formatTable([['INTERFACE', 'NAMESPACE', 'LIMIT', 'SENT BYTES', 'DROPS', 'QUEUED', 'BELOW'], ...rows]);
  return [
    `level ${status.level ?? 'not known yet'}\n`,
    table,
    ...[...problems, ...status.unseen].map((line) => `not enforced: ${line}\n`),
  ].join('');
}

function formatRate(bitsPerSecond: number): string {
  return bitsPerSecond >= 1e9 ? `${bitsPerSecond / 1e9} Gbit/s` : `${bitsPerSecond / 1e6} Mbit/s`;
}
