/**
 * The entry: finds the subcommand and loads only its code, so that `chr-agent status` does not pay for the daemon.
 */
import type { CliContext, Subcommand } from './cli/command.ts';
import { EXIT } from './cli/exit-codes.ts';

const ALIASES: Readonly<Record<string, string>> = { '--help': 'help', '-h': 'help', '--version': 'version' };

async function main(argv: readonly string[], context: CliContext): Promise<number> {
  const [word, ...rest] = argv;
  if (word === undefined) {
    context.err("chr-agent: a subcommand is missing, try 'chr-agent help'\n");
    return EXIT.usage;
  }
  const name = ALIASES[word] ?? word;
  try {
    const subcommand = await find(name);
    if (subcommand !== undefined) return await subcommand(rest, context);
    context.err(`chr-agent: unknown subcommand '${word}', try 'chr-agent help'\n`);
    return EXIT.usage;
  } catch (error) {
    return report(error, name, context);
  }
}

async function find(name: string): Promise<Subcommand | undefined> {
  if (name === 'run') return (await import('./daemon-commands.ts')).run;
  if (name === 'qemu-ga') return (await import('./daemon-commands.ts')).qemuGa;
  const { consoleCommands } = await import('./console-commands.ts');
  return Object.hasOwn(consoleCommands, name) ? consoleCommands[name]?.() : undefined;
}

/** Errors are told by their names: their classes live in code that need not be loaded. */
function report(error: unknown, subcommand: string, context: CliContext): number {
  const { name, message } = error instanceof Error ? error : { name: '', message: String(error) };
  switch (name) {
    case 'UsageError':
      context.err(`chr-agent: ${message}, try 'chr-agent ${subcommand} --help'\n`);
      return EXIT.usage;
    case 'ConfigError':
      context.err(`${message}\n`);
      return EXIT.badConfig;
    case 'TypeError':
    case 'RangeError':
    case 'ReferenceError':
      // a bug: say where
      context.err(`chr-agent: ${(error as Error).stack}\n`);
      return EXIT.failure;
    default:
      context.err(`chr-agent: ${message}\n`);
      return EXIT.failure;
  }
}

const used = new Set<NodeJS.WriteStream>();

/** Touches the streams only when there is something to say: the daemon itself never needs them. */
function write(stream: NodeJS.WriteStream, text: string | Uint8Array): void {
  // a reader that went away (`| head`) is no failure of ours
  if (stream.listenerCount('error') === 0) stream.on('error', () => {});
  used.add(stream);
  stream.write(text);
}

/** A pipe takes 64 KiB at once, the rest when its reader has read that. */
function written(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()));
}

main(process.argv.slice(2), {
  env: process.env,
  out: (text) => write(process.stdout, text),
  err: (text) => write(process.stderr, text),
}).then(async (status) => {
  await Promise.all([...used].map(written));
  // what is left open must not keep a finished command alive
  process.exit(status);
});
