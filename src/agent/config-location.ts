/**
 * Finds the line of a key in a TOML text that has been parsed without an error already (TOML 1.0, toml.io), so that a
 * message about a wrong value can name it. It reads keys and skips values; what a value means is the parser's affair.
 */

interface Scan {
  readonly text: string;
  at: number;
  line: number;
  /** Line of each key, joined by KEY_JOINT; array elements have their index as the last part. */
  readonly lines: Map<string, number>;
}

/** A character that TOML does not allow in a file, so no key holds it. */
const KEY_JOINT = '\0';

/** The 1-based line where the key stands, else the line of the nearest table around it, else 1. */
export function lineOfKey(text: string, path: readonly string[]): number {
  const lines = scanKeys(text);
  for (let length = path.length; length > 0; length--) {
    const line = lines.get(path.slice(0, length).join(KEY_JOINT));
    if (line !== undefined) return line;
  }
  return 1;
}

function scanKeys(text: string): ReadonlyMap<string, number> {
  const scan: Scan = { text, at: 0, line: 1, lines: new Map() };
  let table: string[] = [];
  for (skipBlank(scan); scan.at < text.length; skipBlank(scan)) {
    const before = scan.at;
    if (text[scan.at] === '[') {
      const brackets = text[scan.at + 1] === '[' ? 2 : 1;
      scan.at += brackets;
      table = readKey(scan, []);
      scan.at += brackets;
    } else {
      readPair(scan, table);
    }
    // the text was valid for the parser; never loop should the two disagree
    if (scan.at === before) scan.at += 1;
  }
  return scan.lines;
}

function readPair(scan: Scan, table: readonly string[]): void {
  const key = readKey(scan, table);
  if (scan.text[scan.at] === '=') scan.at += 1;
  skipValue(scan, key);
}

/** Reads a dotted key, notes the line of each of its tables, and returns its full path. */
function readKey(scan: Scan, table: readonly string[]): string[] {
  const path = [...table];
  for (;;) {
    skipSpaces(scan);
    const quote = scan.text[scan.at];
    const part = quote === '"' || quote === "'" ? readQuoted(scan, quote) : readBare(scan);
    path.push(part);
    note(scan, path);
    skipSpaces(scan);
    if (scan.text[scan.at] !== '.') return path;
    scan.at += 1;
  }
}

function note(scan: Scan, path: readonly string[]): void {
  const name = path.join(KEY_JOINT);
  if (!scan.lines.has(name)) scan.lines.set(name, scan.line);
}

function readBare(scan: Scan): string {
  const start = scan.at;
  while (/[A-Za-z0-9_-]/.test(scan.text[scan.at] ?? '')) scan.at += 1;
  return scan.text.slice(start, scan.at);
}

function readQuoted(scan: Scan, quote: '"' | "'"): string {
  const start = scan.at;
  skipString(scan, quote);
  const literal = scan.text.slice(start, scan.at);
  if (quote === "'") return literal.slice(1, -1);
  try {
    return String(JSON.parse(literal));
  } catch {
    return literal.slice(1, -1); // an escape that only TOML has: such a key is found by its table
  }
}

function skipValue(scan: Scan, path: readonly string[]): void {
  skipSpaces(scan);
  const first = scan.text[scan.at];
  if (first === '"' || first === "'") return skipString(scan, first);
  if (first === '[')
    return skipList(scan, ']', (index) => {
      const element = [...path, String(index)];
      note(scan, element);
      skipValue(scan, element);
    });
  if (first === '{') return skipList(scan, '}', () => readPair(scan, path));
  while (scan.at < scan.text.length && !/[,\]}#\r\n]/.test(scan.text[scan.at] ?? '')) scan.at += 1;
}

function skipList(scan: Scan, end: ']' | '}', element: (index: number) => void): void {
  scan.at += 1;
  for (let index = 0; ; index++) {
    skipBlank(scan);
    if (scan.at >= scan.text.length) return;
    if (scan.text[scan.at] === end) {
      scan.at += 1;
      return;
    }
    const before = scan.at;
    element(index);
    skipBlank(scan);
    if (scan.text[scan.at] === ',' || scan.at === before) scan.at += 1;
  }
}

function skipString(scan: Scan, quote: '"' | "'"): void {
  const delimiter = scan.text.startsWith(quote.repeat(3), scan.at) ? quote.repeat(3) : quote;
  scan.at += delimiter.length;
  while (scan.at < scan.text.length) {
    if (scan.text.startsWith(delimiter, scan.at)) {
      scan.at += delimiter.length;
      // a multi-line string may end in up to two more quotes that belong to it
      while (delimiter.length === 3 && scan.text[scan.at] === quote) scan.at += 1;
      return;
    }
    if (scan.text[scan.at] === '\n') scan.line += 1;
    scan.at += quote === '"' && scan.text[scan.at] === '\\' && scan.text[scan.at + 1] !== '\n' ? 2 : 1;
  }
}

function skipSpaces(scan: Scan): void {
  while (scan.text[scan.at] === ' ' || scan.text[scan.at] === '\t') scan.at += 1;
}

/** Skips spaces, line ends and comments. */
function skipBlank(scan: Scan): void {
  for (;;) {
    const char = scan.text[scan.at];
    if (char === '#') {
      while (scan.at < scan.text.length && scan.text[scan.at] !== '\n') scan.at += 1;
    } else if (char === '\n') {
      scan.line += 1;
      scan.at += 1;
    } else if (char === ' ' || char === '\t' || char === '\r' || char === '\uFEFF') {
      scan.at += 1;
    } else {
      return;
    }
  }
}
