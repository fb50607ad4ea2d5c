/**
 * The tree of the package that this program runs from: packaging/tree lists it in /usr/lib/chr-agent/files, a line an entry:
 * `TYPE MODE PATH [TARGET]`.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** `path` has no leading `/`. */
export type TreeEntry =
  | { readonly kind: 'file'; readonly path: string; readonly mode: number }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | { readonly kind: 'directory'; readonly path: string; readonly mode: number };

export interface PackageTree {
  readonly directory: string;
  readonly entries: readonly TreeEntry[];
}

export const FILE_LIST = 'usr/lib/chr-agent/files';
const PIECE_BYTES = 1_048_576;

/** @throws Error if the directory holds no package */
export function readPackageTree(directory: string): PackageTree {
  let text: string;
  try {
    text = readFileSync(join(directory, FILE_LIST), 'utf8');
  } catch {
    throw new Error(`this program does not run from a package: ${join(directory, FILE_LIST)} cannot be read`);
  }
  const entries = text.split('\n').flatMap((line) => (line === '' ? [] : [parseLine(line)]));
  return { directory, entries: [...entries, { kind: 'file', path: FILE_LIST, mode: 0o644 }] };
}

function parseLine(line: string): TreeEntry {
  const [type, octal = '', path = '', target = ''] = line.split(' ');
  const mode = Number.parseInt(octal, 8);
  if (path === '' || Number.isNaN(mode)) throw new Error(`${FILE_LIST}: bad line '${line}'`);
  if (type === 'f') return { kind: 'file', path, mode };
  if (type === 'd') return { kind: 'directory', path, mode };
  if (type === 'l' && target !== '') return { kind: 'link', path, target };
  throw new Error(`${FILE_LIST}: bad line '${line}'`);
}

/** In pieces: the runtime alone is larger than what a small machine has to spare. Each is valid until the next. */
export function* piecesOf(file: string): Generator<Uint8Array> {
  const fd = openSync(file, 'r');
  try {
    const buffer = Buffer.allocUnsafe(PIECE_BYTES);
    for (;;) {
      const length = readSync(fd, buffer);
      if (length === 0) return;
      yield buffer.subarray(0, length);
    }
  } finally {
    closeSync(fd);
  }
}

/** Whether two files of the same size are equal. */
export function sameContent(a: string, b: string): boolean {
  const others = piecesOf(b);
  for (const piece of piecesOf(a)) {
    const { value } = others.next();
    if (value === undefined || Buffer.compare(piece, value) !== 0) {
      others.return(undefined);
      return false;
    }
  }
  return others.next().done === true;
}
