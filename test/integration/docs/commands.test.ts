/**
 * The commands that the documents show: chr-agent understands its own, the end-to-end suites run virsh's, and what nobody can run
 * here says so.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { subcommands } from '../../../scripts/man-pages.ts';
import { VERSION } from '../../../src/agent/version.ts';
import { blocks, PROJECT, readDocuments, shellLines, words } from './markdown.ts';

const documents = readDocuments();

/** Only on hosts that are not here. */
const HOST_TOOLS =
  /^(qm|pvesh|vzdump|xe|xl|govc|vim-cmd|vmrun|vmkfstools|ovftool|esxcli|VBoxManage|virt-(install|customize|sysprep|clone)|debootstrap|guestmount)\b/;

/** With --help a command line is read, and nothing is done. Its action and options must be in what is printed then. @returns null: fine */
function complaint(argv: readonly string[]): string | null {
  const main = join(PROJECT, 'src/agent/main.ts');
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...argv, '--help'], {
    encoding: 'utf8',
  });
  if (status !== 0) return stderr;
  const unknown = argv
    .slice(1)
    .filter((word, at) => (at === 0 || word.startsWith('-')) && !stdout.includes(word));
  return unknown.length === 0 ? null : `not in its help: ${unknown.join(' ')}`;
}

/** `chr-agent …` in shell blocks, in sessions (`$ chr-agent …`, `# chr-agent …`) and in the text. */
function ownCommands(): string[] {
  const found = documents.flatMap((document) => {
    const inBlocks = blocks(document).flatMap(({ lines }) => lines.map((line) => line.replace(/^[$#] /, '')));
    const inText = [...document.text.matchAll(/`(chr-agent [^`\n]*)`/g)].map(([, command = '']) => command);
    return [...inBlocks, ...inText];
  });
  return [
    ...new Set(
      found
        .map((line) => line.replace(/\s+#.*$/, '').trim())
        // not sentences of an error message, not what stands for something
        .filter((line) => /^(?:\S*\/)?chr-agent [a-z-]+(?: |$)/.test(line) && !/[[|…;]/.test(line)),
    ),
  ].sort();
}

/** All words that the end-to-end suites hand to virsh or the agent. */
function endToEndSources(): string {
  const directory = join(PROJECT, 'test/e2e');
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(directory, name), 'utf8'))
    .join('\n');
}

describe('chr-agent', () => {
  it.each(ownCommands())('%s', (line) => {
    const [, subcommand = '', ...rest] = words(line);
    // these two have the command line of another program
    const isOther = subcommand === 'rpctool' || subcommand === 'qemu-ga';
    expect(complaint([subcommand, ...(isOther ? [] : rest)])).toBeNull();
  });

  it('refuses what it does not know, so that the above means something', () => {
    for (const line of ['status --jsonn', 'license renw', 'scripts disabel', 'shaper shw', 'stats']) {
      expect(complaint(line.split(' ')), line).not.toBeNull();
    }
  });

  it('every subcommand is in docs/cli.md', () => {
    const text = documents.find(({ path }) => path === 'docs/cli.md')?.text ?? '';
    const missing = subcommands().filter(({ name }) => !text.includes(`\nchr-agent ${name}`));
    expect(missing).toEqual([]);
  });
});

it('names the package of this version', () => {
  const names = documents.flatMap(({ text }) => text.match(/chr-agent_\d[^_\s]*_/g) ?? []);
  expect([...new Set(names)]).toEqual([`chr-agent_${VERSION}_`]);
});

describe('virsh', () => {
  const sources = endToEndSources();
  const lines = documents
    .flatMap(shellLines)
    .filter(({ line, marked }) => !marked && line.startsWith('virsh '))
    .map(({ line }) => line);

  it.each([...new Set(lines)])('%s', (line) => {
    const [, name = '', , ...rest] = words(line);
    if (name === 'qemu-agent-command') {
      const command = /"execute": "([a-z-]+)"/.exec(rest.join(' '))?.[1];
      expect(sources).toContain(`'${command}'`);
      return;
    }
    expect(sources).toContain(`'${name}'`);
    for (const option of rest.filter((word) => word.startsWith('--')))
      expect(sources).toContain(`'${option}'`);
  });
});

describe('on the host', () => {
  it.each(documents.map((document) => [document.path, document] as const))(
    '%s marks what cannot be run',
    (_, document) => {
      const unmarked = shellLines(document).filter(({ line, marked }) => !marked && HOST_TOOLS.test(line));
      expect(unmarked).toEqual([]);
    },
  );
});
