/** docs/configuration.md against the schema: every key with its default; every piece of agent.toml that is shown is good. */
import { parse } from 'smol-toml';
import { describe, expect, it } from 'vitest';
import { cells, sections } from '../../../scripts/roff.ts';
import { validateConfig } from '../../../src/agent/config-schema.ts';
import { blocks, readDocuments } from './markdown.ts';

const documents = readDocuments();
const text = documents.find(({ path }) => path === 'docs/configuration.md')?.text ?? '';

/** `[table]` → key → the cell of its default. */
const documented = new Map(
  sections(text)
    .map(({ title, body }) => [/^\[([^\]]+)\]/.exec(title)?.[1], body] as const)
    .filter((entry): entry is readonly [string, string] => entry[0] !== undefined)
    .map(([table, body]) => {
      const rows = body.split('\n').filter((line) => /^\| `/.test(line));
      return [table, new Map(rows.map((row) => [/`([^`]+)`/.exec(row)?.[1] ?? '', cells(row)[1] ?? '']))];
    }),
);

/** The names that the schema tells when it meets one that it does not know. */
function keysOf(document: unknown): string[] {
  const result = validateConfig(document);
  const problem = result.ok ? '' : (result.problems[0]?.problem ?? '');
  return (/the keys here are (.*)$/.exec(problem)?.[1] ?? '').split(', ').sort();
}

describe('docs/configuration.md', () => {
  it('has every table', () => {
    expect([...documented.keys()].sort()).toEqual(keysOf({ 'no such table': 1 }));
  });

  it.each([...documented.keys()])('has every key of [%s]', (table) => {
    expect([...(documented.get(table)?.keys() ?? [])].sort()).toEqual(
      keysOf({ [table]: { 'no such key': 1 } }),
    );
  });

  it('tells the defaults that the schema has', () => {
    const literal = /^`(true|false|\d+|"[^"]*"|\[[^\]]*\])`/;
    const toml = [...documented].map(([table, keys]) => {
      const lines = [...keys].map(([key, cell]) => ({ key, value: literal.exec(cell)?.[1] }));
      return `[${table}]\n${lines.map(({ key, value }) => (value === undefined ? '' : `${key} = ${value}\n`)).join('')}`;
    });
    expect(validateConfig(parse(toml.join('')))).toEqual(validateConfig({}));
    // more than the half: the others are made of something else
    expect(toml.join('').match(/ = /g)?.length).toBeGreaterThan(20);
  });
});

describe('agent.toml as it is shown', () => {
  const shown = documents
    .flatMap(blocks)
    .filter(({ language }) => language === 'toml')
    .map((block) => [`${block.document}, ${block.heading}`, block.lines.join('\n')] as const);

  it.each(shown)('%s', (_, toml) => {
    expect(validateConfig(parse(toml))).toMatchObject({ ok: true });
  });
});
