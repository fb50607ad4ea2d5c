/**
 * Installs the package's tree into a mounted image, offline: nothing of the image is run. Everything is checked first; then come the
 * record, the files, and last what starts the service, so that an interrupted installation starts nothing and can be repeated.
 */
import { lstatSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { ImageError, type ImageRoot } from './image-root.ts';
import {
  applyChange,
  detectInitSystem,
  type InitSystem,
  planEnabling,
  serviceSource,
} from './init-system.ts';
import { findOtherServices } from './other-agents.ts';
import { type PackageTree, piecesOf, sameContent, type TreeEntry } from './package-tree.ts';
import { type Change, mergeChanges, RECORD_PATH, readRecord, writeRecord } from './record.ts';

export interface InstallOptions {
  readonly root: ImageRoot;
  readonly tree: PackageTree;
  /** The package's version, for the record. */
  readonly version: string;
  readonly init: InitSystem | 'auto';
  /** Whether the image starts the service. */
  readonly enables: boolean;
  /** Whether other guest agents are switched off; else they are only named. */
  readonly disablesOthers: boolean;
  /** One line for each thing that was done. */
  say(line: string): void;
  warn(line: string): void;
}

const CONFIG_PATH = 'etc/chr-agent/agent.toml';
const DPKG_LIST = 'var/lib/dpkg/info/chr-agent.list';
/** What a file system needs beside the bytes of the files. */
const SPARE_BYTES = 2 * 1_048_576;

/** @throws {ImageError} before anything is changed, if the image cannot take it */
export function install(options: InstallOptions): void {
  const { root, tree, say, warn } = options;
  if (root.exists(DPKG_LIST))
    throw new ImageError('the image has the Debian package chr-agent: install the .deb there instead');
  const init = options.init === 'auto' ? detectInitSystem(root) : options.init;
  say(`init system: ${init}${options.init === 'auto' ? '' : ', as told'}`);
  const old = readRecord(root);
  const missing = tree.entries.filter((entry) => !isThere(root, tree, entry));
  checkSpace(root, tree, missing);

  const record = {
    version: options.version,
    files: tree.entries.flatMap(({ kind, path }) =>
      kind === 'directory' || path === CONFIG_PATH ? [] : [path],
    ),
    directories: [...(old?.directories ?? [])],
    changes: [...(old?.changes ?? [])],
  };
  const note = (change: Change) => {
    record.changes = mergeChanges(record.changes, [change]);
    save();
  };
  const save = () => writeRecord(root, record);
  const remember = (made: readonly string[]) => record.directories.push(...made);

  remember(root.makeDirectory(parentOf(RECORD_PATH)));
  save();
  // outer ones first, and all of them known before the first file is there
  for (const entry of tree.entries) {
    if (entry.kind === 'directory') remember(root.makeDirectory(entry.path, entry.mode));
    else remember(root.makeDirectory(parentOf(entry.path)));
  }
  save();
  copy(options, missing);
  for (const path of old?.files ?? []) {
    if (record.files.includes(path)) continue;
    root.remove(path);
    say(`removed: /${path}, which this version does not have`);
  }

  const others = findOtherServices(root, init);
  for (const { name, agent, disabling } of others) {
    if (options.disablesOthers && disabling.length > 0) {
      for (const change of disabling) {
        note(change);
        remember(applyChange(root, change, '') ?? []);
      }
      save();
      say(`switched off: ${name} (${agent})`);
    } else {
      const remedy = disabling.length > 0 ? '--disable-others switches it off' : 'switch it off by hand';
      warn(`${name} (${agent}) would run beside it: ${remedy}`);
    }
  }

  if (options.enables)
    enable(options, init, note, (made) => {
      remember(made);
      save();
    });
  else say('not enabled');
}

function enable(
  { root, tree, say, warn }: InstallOptions,
  init: InitSystem,
  note: (change: Change) => void,
  remember: (made: readonly string[]) => void,
): void {
  const { steps, warnings } = planEnabling(root, init);
  const service = join(tree.directory, serviceSource(init));
  for (const change of steps) {
    // a line that the image's maker has put there himself is not ours to take away
    if (change.kind === 'line' && (root.readText(change.path) ?? '').split('\n').includes(change.line)) {
      say(`there already: '${change.line}' in /${change.path}`);
      continue;
    }
    note(change);
    const made = applyChange(root, change, service);
    if (made === null) {
      say(`there already: ${describe(change)}`);
    } else {
      remember(made);
      say(`enabled: ${describe(change)}`);
    }
  }
  for (const warning of warnings) warn(warning);
}

function copy({ root, tree, say }: InstallOptions, missing: readonly TreeEntry[]): void {
  let count = 0;
  for (const entry of missing) {
    if (entry.kind === 'directory') continue;
    if (entry.kind === 'link') root.writeLink(entry.path, entry.target);
    else root.writeFile(entry.path, piecesOf(join(tree.directory, entry.path)), entry.mode);
    count += 1;
  }
  const files = tree.entries.filter(({ kind }) => kind !== 'directory').length;
  say(`files: ${count} copied, ${files - count} there already`);
  if (!missing.some(({ path }) => path === CONFIG_PATH)) say(`kept: /${CONFIG_PATH}`);
}

/** Whether nothing is to be done for it. A configuration that is there is the user's. */
function isThere(root: ImageRoot, { directory }: PackageTree, entry: TreeEntry): boolean {
  const stat = root.stat(entry.path);
  if (entry.path === CONFIG_PATH && stat !== undefined) return true;
  switch (entry.kind) {
    case 'directory':
      return root.exists(entry.path);
    case 'link':
      return root.readLink(entry.path) === entry.target;
    case 'file': {
      const source = join(directory, entry.path);
      if (!stat?.isFile() || (stat.mode & 0o7777) !== entry.mode) return false;
      return stat.size === lstatSync(source).size && sameContent(source, root.locate(entry.path));
    }
    default:
      return entry satisfies never;
  }
}

function checkSpace(root: ImageRoot, tree: PackageTree, missing: readonly TreeEntry[]): void {
  const sizes = missing.map((entry) =>
    entry.kind === 'file' ? lstatSync(join(tree.directory, entry.path)).size : 0,
  );
  const neededBytes = sizes.reduce((sum, size) => sum + size, 0);
  if (neededBytes === 0) return;
  // the nearest directory that is there: /usr may be a file system of its own
  let place = 'usr/lib/chr-agent';
  while (place !== '' && !root.exists(place)) place = parentOf(place);
  const { bavail, bsize } = statfsSync(root.follow(place));
  const freeBytes = bavail * bsize;
  if (freeBytes >= neededBytes + SPARE_BYTES) return;
  const mib = (bytes: number) => `${Math.ceil(bytes / 1_048_576)} MiB`;
  throw new ImageError(
    `not enough space in /${place}: ${mib(neededBytes + SPARE_BYTES)} needed, ${mib(freeBytes)} free`,
  );
}

/** For people. */
export function describe(change: Change): string {
  switch (change.kind) {
    case 'file':
      return `/${change.path}`;
    case 'link':
    case 'removed-link':
      return `/${change.path} -> ${change.target}`;
    case 'line':
      return `'${change.line}' in /${change.path}`;
    default:
      return change satisfies never;
  }
}

function parentOf(path: string): string {
  return path.split('/').slice(0, -1).join('/');
}
