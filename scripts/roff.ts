/**
 * Markdown, as far as docs/ uses it, and the usage texts of the subcommands, as man(7) source. Enough for our own texts, no more.
 */

/** One `## …` section of a Markdown text, without its heading. */
export interface Section {
  readonly title: string;
  readonly body: string;
}

/** The text before the first heading of the second level has the title ''. */
export function sections(markdown: string): Section[] {
  const [head = '', ...rest] = markdown.split(/^## /m);
  return [
    { title: '', body: head.replace(/^# .*\n/, '') },
    ...rest.map((text) => {
      const end = text.indexOf('\n');
      return { title: text.slice(0, end), body: text.slice(end + 1) };
    }),
  ];
}

const escapeText = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll(
      /[^\x00-\x7f]/g,
      (char) => `\\[u${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}]`,
    )
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replaceAll('`', '\\(ga');

/** What is typed: its hyphens are minus signs. */
const escapeCode = (text: string): string => escapeText(text).replaceAll('-', '\\-').replaceAll("'", '\\(aq');

/** A line must not look like a request. */
const safeStart = (line: string): string => line.replace(/^(?=[.'])/, '\\&');

const bold = (text: string): string => `\\fB${escapeCode(text)}\\fR`;

/** Inline Markdown: code in bold, links as their text. */
export function inline(markdown: string): string {
  return markdown
    .replaceAll(/\[([^\]]+)\]\([^)]*\)/g, '$1')
    .split(/(`[^`]*`)/)
    .map((part) => (part.startsWith('`') ? bold(part.slice(1, -1)) : escapeText(part.replaceAll('**', ''))))
    .join('');
}

const paragraph = (text: string): string => `.PP\n${safeStart(inline(text))}\n`;
const verbatim = (lines: readonly string[]): string =>
  `.PP\n.in +4n\n.nf\n${lines.map((line) => `${safeStart(escapeCode(line))}\n`).join('')}.fi\n.in\n`;
/** @param label is roff already */
const item = (label: string, text: string): string => `.TP\n${label}\n${safeStart(text)}\n`;

/** Splits a table's line; `\|` is a bar in a cell. */
export const cells = (line: string): string[] =>
  line
    .replace(/^\|/, '')
    .replace(/\|\s*$/, '')
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll('\\|', '|'));

function table(lines: readonly string[]): string {
  const [head = '', , ...rows] = lines;
  const names = cells(head);
  return rows
    .map((line) => {
      const [label = '', ...rest] = cells(line);
      // the last column is the text, those between have their names
      const named = rest.slice(0, -1).map((cell, at) => ` (${names[at + 1]}: ${inline(cell)})`);
      return item(inline(label), `${inline(rest.at(-1) ?? '')}${named.join('')}`);
    })
    .join('');
}

/** Paragraphs, tables, lists and fenced blocks. */
export function body(markdown: string): string {
  const blocks = markdown.match(/^```[^\n]*\n[\s\S]*?^```$|^(?!```)[^\n]+(?:\n(?!```)[^\n]+)*/gm) ?? [];
  return blocks
    .map((block) => {
      const lines = block.split('\n');
      if (block.startsWith('```')) return verbatim(lines.slice(1, -1));
      if (block.startsWith('|')) return table(lines);
      if (/^[*-] /.test(block))
        return block
          .split(/^[*-] /m)
          .slice(1)
          .map((text) => `.IP \\(bu 2\n${safeStart(inline(text.trim().replaceAll(/\n\s*/g, '\n')))}\n`)
          .join('');
      return paragraph(block);
    })
    .join('');
}

/** A usage text as the subcommands print it: the usage lines, then paragraphs and lists of `  WORD   meaning`. */
export function usage(text: string): string {
  const lines = text.replaceAll('\t', '   ').trimEnd().split('\n');
  let out = '';
  let words: string[] = [];
  let list: { label: string; text: string } | null = null;
  const endList = () => {
    if (list !== null) out += item(bold(list.label), inline(list.text));
    list = null;
  };
  const endParagraph = () => {
    if (words.length > 0) out += `.PP\n${words.map((line) => `${safeStart(escapeText(line))}\n`).join('')}`;
    words = [];
  };
  let usageLines: string[] = [];
  for (const line of lines) {
    if (/^usage: /i.test(line) || (usageLines.length > 0 && out === '' && /^ {7}/.test(line))) {
      usageLines.push(line.replace(/^usage: /i, '').trim());
      continue;
    }
    if (usageLines.length > 0) {
      out += verbatim(usageLines);
      usageLines = [];
    }
    const entry = /^ {2}(\S.*?)(?: {2,}(\S.*))?$/.exec(line);
    const more = /^ {4,}(\S.*)$/.exec(line);
    if (more !== null && list !== null) list.text += `${list.text === '' ? '' : '\n'}${more[1]}`;
    else if (entry !== null) {
      endParagraph();
      endList();
      list = { label: entry[1] ?? '', text: entry[2] ?? '' };
    } else {
      endList();
      if (line === '') endParagraph();
      else words.push(line);
    }
  }
  endList();
  endParagraph();
  return out + (usageLines.length > 0 ? verbatim(usageLines) : '');
}

/** @param date of the page, `YYYY-MM-DD` */
export function head(title: string, section: number, date: string, source: string): string {
  return `.\\" Made by scripts/man-pages.ts: do not edit\n.TH ${escapeCode(title)} ${section} ${date} "${source}"\n`;
}

/** A whole page as mandoc -Tlint wants it: prose in lines of at most 79 bytes, no paragraph right after a heading. */
export function tidy(page: string): string {
  let isVerbatim = false;
  const lines = page.replaceAll(/^(\.S[HS] .*\n)\.PP\n/gm, '$1').split('\n');
  return lines
    .flatMap((line) => {
      if (/^\.(nf|fi)$/.test(line)) isVerbatim = line === '.nf';
      return isVerbatim || line.startsWith('.') ? [line] : wrap(line);
    })
    .join('\n');
}

function wrap(line: string): string[] {
  const lines = [''];
  for (const word of line.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last !== '' && last.length + 1 + word.length > 79) lines.push(safeStart(word));
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}
