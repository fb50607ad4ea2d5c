/**
 * Writes packaging/man: `node scripts/man-pages.ts`. chr-agent(1) is made of what the subcommands print with --help and of docs/cli.md,
 * agent.toml(5) of docs/configuration.md.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { HELP } from '../src/agent/cli/help.ts';
import { VERSION } from '../src/agent/version.ts';
import { body, head, inline, sections, tidy, usage } from './roff.ts';

/** Of the last change that matters to a reader. */
const DATE = '2026-11-25';

const project = new URL('..', import.meta.url).pathname;
const document = (name: string) => readFileSync(`${project}docs/${name}.md`, 'utf8');
const source = `chr-agent ${VERSION}`;

/** The subcommands as `chr-agent help` lists them, with the line that it has for each. */
export function subcommands(): { name: string; summary: string }[] {
  return [...HELP.matchAll(/^ {2}(\S+)(?: \S+)* {2,}(\S.*)$/gm)].map(([, name = '', summary = '']) => ({
    name,
    summary,
  }));
}

/** What a subcommand prints with --help; rpctool does it on stderr, as vmware-rpctool. */
function helpOf(name: string): string {
  const main = `${project}src/agent/main.ts`;
  return execFileSync('sh', ['-c', '"$@" 2>&1', 'sh', process.execPath, main, name, '--help'], {
    encoding: 'utf8',
  });
}

function section(markdown: string, title: string): string {
  const found = sections(markdown).find((one) => one.title === title);
  if (found === undefined) throw new Error(`no section '${title}'`);
  return found.body;
}

function commandPage(): string {
  const list = subcommands().filter(({ name }) => name !== 'help');
  const exitStatuses = section(document('cli'), 'Exit statuses');
  return [
    head('CHR-AGENT', 1, DATE, source),
    '.SH NAME\nchr\\-agent \\- guest agent for router and appliance images\n',
    '.SH SYNOPSIS\n.B chr\\-agent\n.I SUBCOMMAND\n.RI [ OPTIONS ]\n',
    '.SH DESCRIPTION\nOne guest agent for KVM, VMware and Xen: it takes the place of qemu\\-guest\\-agent, open\\-vm\\-tools and\n',
    "xe\\-guest\\-utilities, and limits each interface's upload to what the license allows.\n",
    '.SH SUBCOMMANDS\n',
    ...list.map(
      ({ name, summary }) => `.SS ${name.replaceAll('-', '\\-')}\n${inline(summary)}\n${usage(helpOf(name))}`,
    ),
    `.SH EXIT STATUS\n${body(exitStatuses)}`,
    '.SH ENVIRONMENT\n.TP\n.B CHR_AGENT_CONFIG\nThe configuration file, if none is given.\n',
    '.TP\n.B CHR_AGENT_NO_ACTIONS\nWith 1 the daemon refuses what could hurt the machine: power, clock, freezing and the like.\n',
    '.SH FILES\n',
    ...FILES.map(([path, text]) => `.TP\n.I ${path}\n${text}\n`),
    '.SH SEE ALSO\n.BR agent.toml (5);\n.I /usr/share/doc/chr\\-agent\n',
  ].join('');
}

const FILES = [
  ['/etc/chr\\-agent/agent.toml', 'The configuration.'],
  ['/etc/chr\\-agent/hooks', 'Scripts around freezing and power operations.'],
  ['/etc/chr\\-agent/license\\-keys.d', "The vendor's public keys."],
  [
    '/var/lib/chr\\-agent/files',
    'The files directory: what hosts upload, and what failed scripts have printed.',
  ],
  ['/run/chr\\-agent/control.sock', 'Where the other subcommands ask the daemon.'],
] as const;

function configurationPage(): string {
  const [intro, ...tables] = sections(document('configuration'));
  return [
    head('AGENT.TOML', 5, DATE, source),
    '.SH NAME\nagent.toml \\- configuration of chr\\-agent\n',
    `.SH DESCRIPTION\n${body(intro?.body ?? '')}`,
    ...tables.map(({ title, body: text }) => `.SH ${inline(title)}\n${body(text)}`),
    '.SH FILES\n.I /etc/chr\\-agent/agent.toml\n',
    '.SH SEE ALSO\n.BR chr\\-agent (1)\n',
  ].join('');
}

/** The pages by their file names. */
export function manPages(): Readonly<Record<string, string>> {
  return { 'chr-agent.1': tidy(commandPage()), 'agent.toml.5': tidy(configurationPage()) };
}

if (process.argv[1] === import.meta.filename) {
  const directory = `${project}packaging/man`;
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of Object.entries(manPages())) writeFileSync(`${directory}/${name}`, text);
}
