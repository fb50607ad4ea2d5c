/**
 * What an installation did to an image, kept in the image so that `uninstall` takes back just that. It is there before the
 * first file is, so that an interrupted installation can be taken back too.
 */
import { ImageError, type ImageRoot } from './image-root.ts';

/** A change beside the package's own files. Paths have no leading `/`. */
export type Change =
  /** A link that was made. */
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  /** A link that was taken away. */
  | { readonly kind: 'removed-link'; readonly path: string; readonly target: string }
  /** A line that was added to a file. */
  | { readonly kind: 'line'; readonly path: string; readonly line: string }
  /** A file that was made. */
  | { readonly kind: 'file'; readonly path: string };

export interface InstallRecord {
  readonly version: string;
  /** The package's files and links. */
  readonly files: readonly string[];
  /** Directories that were not there before, outer ones first. */
  readonly directories: readonly string[];
  readonly changes: readonly Change[];
}

export const RECORD_PATH = 'usr/lib/chr-agent/installed.json';

/** @throws {ImageError} if there is one that cannot be understood */
export function readRecord(root: ImageRoot): InstallRecord | undefined {
  const text = root.readText(RECORD_PATH);
  if (text === undefined) return undefined;
  try {
    const record: unknown = JSON.parse(text);
    if (isRecord(record)) return record;
  } catch {
    // the same as a record of another shape
  }
  throw new ImageError(`/${RECORD_PATH} is damaged: remove it and install again`);
}

export function writeRecord(root: ImageRoot, record: InstallRecord): void {
  root.writeFile(RECORD_PATH, [Buffer.from(`${JSON.stringify(record, null, 1)}\n`)], 0o644);
}

function isRecord(value: unknown): value is InstallRecord {
  if (typeof value !== 'object' || value === null) return false;
  const { version, files, directories, changes } = value as Partial<Record<keyof InstallRecord, unknown>>;
  const areTexts = (list: unknown) => Array.isArray(list) && list.every((item) => typeof item === 'string');
  return (
    typeof version === 'string' &&
    areTexts(files) &&
    areTexts(directories) &&
    Array.isArray(changes) &&
    changes.every(isChange)
  );
}

function isChange(value: unknown): value is Change {
  if (typeof value !== 'object' || value === null) return false;
  const { kind, path, target, line } = value as Record<string, unknown>;
  if (typeof path !== 'string') return false;
  if (kind === 'file') return true;
  return kind === 'line'
    ? typeof line === 'string'
    : (kind === 'link' || kind === 'removed-link') && typeof target === 'string';
}

/** Both together, each once. */
export function mergeChanges(old: readonly Change[], added: readonly Change[]): Change[] {
  const seen = new Map([...old, ...added].map((change) => [JSON.stringify(change), change]));
  return [...seen.values()];
}
