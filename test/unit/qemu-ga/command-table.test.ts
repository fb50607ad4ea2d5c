import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { commandTable } from '../../../src/protocols/qemu-ga/command-table.ts';
import { commands } from '../../../src/protocols/qemu-ga/commands/index.ts';

it('docs/qemu-ga-commands.md is what the declarations say (make docs)', () => {
  const url = new URL('../../../docs/qemu-ga-commands.md', import.meta.url);
  expect(readFileSync(url, 'utf8')).toBe(commandTable(commands));
});
