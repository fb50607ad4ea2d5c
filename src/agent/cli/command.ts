/** What every subcommand is made of: its options, its streams, and its usage errors. */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';

/** The process as a subcommand sees it; tests give their own. */
export interface CliContext {
  readonly env: NodeJS.ProcessEnv;
  out(text: string | Uint8Array): void;
  err(text: string | Uint8Array): void;
}

/** @returns the exit status */
export type Subcommand = (argv: readonly string[], context: CliContext) => Promise<number>;

/** The command line cannot be understood: one line, exit status 2. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/**
 * node:util's parseArgs without positional words.
 * @throws {UsageError} in one line
 */
export function parseOptions<const T extends ParseArgsOptionsConfig>(argv: readonly string[], options: T) {
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: false, strict: true }).values;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    // "Unknown option '--x'. To specify a positional argument …"
    throw new UsageError(message.split(/\. |\n/, 1)[0] ?? message);
  }
}

export const HELP_OPTION = { help: { type: 'boolean', short: 'h' } } as const;
export const JSON_OPTION = { json: { type: 'boolean' } } as const;
export const CONFIG_OPTION = { config: { type: 'string', short: 'c' } } as const;

export function printJson(context: CliContext, value: unknown): void {
  context.out(`${JSON.stringify(value, null, 2)}\n`);
}
