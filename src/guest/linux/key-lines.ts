/**
 * The lines of an authorized_keys file (sshd(8)): which keys it has, adding and removing some. The other lines stay as they
 * are, byte for byte. Pure.
 */

/** Lines as latin1 text, a character a byte, whatever the file holds. */
const linesOf = (content: Buffer): string[] => content.toString('latin1').split('\n');
const asLine = (key: string): string => Buffer.from(key).toString('latin1');

/** The keys in the file's order: lines without white space around them, no blank ones and no comments. */
export function keysIn(content: Buffer): string[] {
  return linesOf(content)
    .map((line) => line.replace(/^[ \t\v\f\r]+/, '').replace(/[ \t\v\f\r]+$/, ''))
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => Buffer.from(line, 'latin1').toString());
}

/** Appends the keys that the file does not have as a line; empty ones are nothing. */
export function withKeys(content: Buffer, keys: readonly string[]): Buffer {
  const present = new Set(linesOf(content)).add('');
  const missing = new Set(keys.map(asLine).filter((line) => !present.has(line)));
  if (missing.size === 0) return content;
  const separator = content.length === 0 || content.at(-1) === 0x0a ? '' : '\n';
  const added = Array.from(missing, (line) => `${line}\n`).join('');
  return Buffer.concat([content, Buffer.from(separator + added, 'latin1')]);
}

/** Drops the lines that equal one of the keys. */
export function withoutKeys(content: Buffer, keys: readonly string[]): Buffer {
  // an empty key is no line: it would glue the last line's end away
  const unwanted = new Set(keys.map(asLine));
  unwanted.delete('');
  const kept = linesOf(content).filter((line) => !unwanted.has(line));
  return Buffer.from(kept.join('\n'), 'latin1');
}
