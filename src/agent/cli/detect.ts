/** `chr-agent detect`: which hypervisor this is, and the evidence. */
import type { NativeAddon } from '../../native/index.ts';
import { detect as detectHypervisor } from '../detect.ts';
import { formatTable } from '../status.ts';
import {
  type CliContext,
  HELP_OPTION,
  JSON_OPTION,
  parseOptions,
  printJson,
  type Subcommand,
} from './command.ts';
import { EXIT } from './exit-codes.ts';

const USAGE = `usage: chr-agent detect [--json]

Tells which hypervisor was found, what was looked at, and which protocols that suggests.
`;

export const detect: Subcommand = async (argv, context) => {
  const options = parseOptions(argv, { ...HELP_OPTION, ...JSON_OPTION });
  if (options.help) {
    context.out(USAGE);
    return EXIT.ok;
  }
  const found = detectHypervisor(await loadNative(context));
  if (options.json) {
    printJson(context, found);
    return EXIT.ok;
  }
  context.out(`hypervisor: ${found.hypervisor}\n\n`);
  context.out(
    formatTable([
      ['EVIDENCE', 'VALUE', 'MEANING'],
      ...found.evidence.map(({ source, value, meaning }) => [source, value, meaning]),
    ]),
  );
  context.out('\n');
  context.out(
    formatTable([
      ['PROTOCOL', 'SUGGESTED', 'WHY'],
      ...Object.entries(found.protocols).map(([name, { suggested, why }]) => [
        name,
        suggested ? 'yes' : 'no',
        why,
      ]),
    ]),
  );
  return EXIT.ok;
};

/** The addon reads CPUID; without it the other evidence still counts. */
async function loadNative(context: CliContext): Promise<NativeAddon | null> {
  try {
    return (await import('../../native/index.ts')).native;
  } catch (error) {
    context.err(`chr-agent: ${error instanceof Error ? error.message : error}\n`);
    return null;
  }
}
