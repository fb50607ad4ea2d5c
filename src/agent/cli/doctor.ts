/** `chr-agent doctor`: says in words what works, and what to do about what does not. */
import { devConfig, devDirectory, loadConfig } from '../config.ts';
import { ControlCallError, callControl } from '../control-client.ts';
import { collectDoctorFacts, diagnose, type Finding } from '../doctor.ts';
import type { Status } from '../status.ts';
import {
  CONFIG_OPTION,
  HELP_OPTION,
  JSON_OPTION,
  parseOptions,
  printJson,
  type Subcommand,
} from './command.ts';
import { EXIT } from './exit-codes.ts';

const USAGE = `usage: chr-agent doctor [--json] [--config FILE] [--dev]

Checks the agent's surroundings and says what works, what does not, and what to do about it, also on the host.
It changes nothing. Run it as root.

Exit status: 0 no problem found (there may be warnings), 1 problems.
`;

export const doctor: Subcommand = async (argv, context) => {
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
  const status = await askStatus(config.agent.controlSocket);
  const addon = await import('../../native/index.ts').catch((error: unknown) => ({
    problem: error instanceof Error ? error.message : String(error),
  }));
  const findings = diagnose(collectDoctorFacts(config, status, addon));
  if (options.json) printJson(context, findings);
  else context.out(findings.map(formatFinding).join(''));
  return findings.some(({ level }) => level === 'problem') ? EXIT.failure : EXIT.ok;
};

async function askStatus(socketPath: string): Promise<Status | null> {
  try {
    return await callControl(socketPath, 'status');
  } catch (error) {
    if (error instanceof ControlCallError) return null;
    throw error;
  }
}

const MARKS = { ok: 'ok      ', warning: 'warning ', problem: 'PROBLEM ' };

export function formatFinding({ level, text, remedy }: Finding): string {
  return `${MARKS[level]} ${text}\n${remedy === undefined ? '' : `          → ${remedy}\n`}`;
}
