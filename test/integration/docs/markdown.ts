/** Reads the project's own documents: links, anchors, fenced blocks, commands. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const PROJECT = new URL('../../..', import.meta.url).pathname;

export interface Document {
  /** From the project's directory. */
  readonly path: string;
  readonly text: string;
}

export interface Block {
  readonly document: string;
  /** What stands after the fence: `sh`, `toml`, or nothing. */
  readonly language: string;
  readonly lines: readonly string[];
  /** The `## …` or `### …` above it. */
  readonly heading: string;
}

export function readDocuments(): Document[] {
  const inDocs = readdirSync(join(PROJECT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`);
  return ['README.md', 'CHANGELOG.md', ...inDocs].map((path) => ({
    path,
    text: readFileSync(join(PROJECT, path), 'utf8'),
  }));
}

const withoutBlocks = (text: string): string => text.replaceAll(/^```[\s\S]*?^```$/gm, '');

export function links({ text }: Document): string[] {
  const prose = withoutBlocks(text).replaceAll(/`[^`]*`/g, '');
  return [...prose.matchAll(/\[[^\]]*\]\(([^)]+)\)/g)].map(([, target = '']) => target);
}

/** As GitHub makes them of headings. */
export function anchors({ text }: Document): string[] {
  return [...withoutBlocks(text).matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

export function blocks({ path, text }: Document): Block[] {
  const found: Block[] = [];
  let heading = '';
  let open: { language: string; lines: string[] } | null = null;
  for (const line of text.split('\n')) {
    const fence = /^```(\w*)$/.exec(line);
    if (open !== null && fence !== null) {
      found.push({ document: path, heading, ...open });
      open = null;
    } else if (open !== null) open.lines.push(line);
    else if (fence !== null) open = { language: fence[1] ?? '', lines: [] };
    else if (line.startsWith('##')) heading = line.replace(/^#+ /, '');
  }
  return found;
}

/** Marks what cannot be run where the project is tested. */
export const CANNOT_BE_RUN = '†';

/** The commands of the `sh` blocks: a line each, without comments; those that are marked are left out. */
export function shellLines(document: Document): { line: string; marked: boolean }[] {
  return blocks(document)
    .filter(({ language, lines }) => language === 'sh' && !lines[0]?.startsWith('#!'))
    .flatMap(({ lines }) => lines)
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => ({ line: line.replace(/\s+#.*$/, ''), marked: line.includes(CANNOT_BE_RUN) }));
}

/** Splits a line as a shell does; enough for what is in the documents. */
export function words(line: string): string[] {
  return [...line.matchAll(/(?:[^\s'"]|'[^']*'|"(?:[^"\\]|\\.)*")+/g)].map(([word]) =>
    word.replaceAll(/'([^']*)'|"((?:[^"\\]|\\.)*)"/g, (_, single?: string, double?: string) =>
      single !== undefined ? single : (double ?? '').replaceAll(/\\(.)/g, '$1'),
    ),
  );
}
