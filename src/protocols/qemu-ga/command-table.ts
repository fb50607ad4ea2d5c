/** The documentation of the commands, from their declarations. */
import type { Command } from './registry.ts';

const HEAD = `# QEMU guest agent commands

Made from the declarations in \`src/protocols/qemu-ga/commands/\` by \`make docs\`; do not edit. \`?\` marks what may be left out.
"Since" is the QEMU version that has the command first.

`;

/** A page in Markdown: one section a command. */
export function commandTable<Context>(commands: readonly Command<Context>[]): string {
  const sections = [...commands].sort((a, b) => (a.name < b.name ? -1 : 1)).map(section);
  return HEAD + sections.join('\n');
}

function section<Context>({ name, doc, since, args, returns, repliesOnSuccess }: Command<Context>): string {
  const rows = Object.entries(args).map(([argument, { type, optional, doc: meaning }]) => {
    const label = type.label.replaceAll('|', '\\|');
    return `| \`${argument}\`${optional ? '?' : ''} | ${label} | ${meaning} |\n`;
  });
  const table = rows.length === 0 ? '' : `| argument | type | meaning |\n|---|---|---|\n${rows.join('')}\n`;
  const result = repliesOnSuccess ? `Returns ${returns}.` : 'A success is not answered.';
  return `## ${name}\n\n${doc} Since ${since}.\n\n${table}${result}\n`;
}
