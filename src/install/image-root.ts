/**
 * The root of a mounted image: paths are taken as the image's own system would, so an absolute link leads to the image's root and `..`
 * ends there. Nothing outside is ever read or written. What is written appears whole or not at all.
 */
import {
  chownSync,
  closeSync,
  fchmodSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  type Stats,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Paths are the image's, with or without a leading `/`. */
export interface ImageRoot {
  /** Where the path is on this machine; links in its directories are followed inside the image, one at its end is not. */
  locate(path: string): string;
  /** The same, and a link at its end is followed too. */
  follow(path: string): string;
  /** Of the path itself, not of what a link there leads to. */
  stat(path: string): Stats | undefined;
  /** What is there once links are followed. */
  exists(path: string): boolean;
  /** undefined: it cannot be read. */
  readText(path: string): string | undefined;
  readLink(path: string): string | undefined;
  /** Names in it; empty if it is no directory. */
  list(path: string): string[];
  /** @returns the directories that were made, outer ones first */
  makeDirectory(path: string, mode?: number): string[];
  /** Through a link at the path's end, so that it stays. */
  writeFile(path: string, content: Iterable<Uint8Array>, mode: number): void;
  writeLink(path: string, target: string): void;
  /** And what an interrupted write has left. Not an error if it is not there. */
  remove(path: string): void;
  /** Everything below it too; other file systems and what links lead to stay as they are. */
  removeTree(path: string): void;
  /** @returns whether it was empty, and is gone */
  removeEmptyDirectory(path: string): boolean;
}

const MAX_LINKS = 40;
/** One name for each file: what an interrupted run has left is overwritten by the next. */
const TEMPORARY_SUFFIX = '.chr-agent-new';

export class ImageError extends Error {
  override name = 'ImageError';
}

/** @param directory absolute, without links */
export function openImageRoot(directory: string): ImageRoot {
  const isRoot = process.getuid?.() === 0;

  function resolve(path: string, followsLast: boolean): string {
    const rest = path.split('/').filter((part) => part !== '' && part !== '.');
    const found: string[] = [];
    let links = 0;
    for (let part = rest.shift(); part !== undefined; part = rest.shift()) {
      if (part === '..') {
        found.pop();
        continue;
      }
      const place = join(directory, ...found, part);
      const target = followsLast || rest.length > 0 ? linkTarget(place) : undefined;
      if (target === undefined) {
        found.push(part);
        continue;
      }
      links += 1;
      if (links > MAX_LINKS) throw new ImageError(`${path}: too many links`);
      if (target.startsWith('/')) found.length = 0;
      rest.unshift(...target.split('/').filter((name) => name !== '' && name !== '.'));
    }
    return join(directory, ...found);
  }

  const locate = (path: string) => resolve(path, false);
  const follow = (path: string) => resolve(path, true);
  const stat = (path: string) => lstatSync(locate(path), { throwIfNoEntry: false });

  return {
    locate,
    follow,
    stat,
    exists: (path) => lstatSync(follow(path), { throwIfNoEntry: false }) !== undefined,
    readText(path) {
      const place = follow(path);
      // a device or a pipe is not opened
      return lstatSync(place, { throwIfNoEntry: false })?.isFile() ? readFileSync(place, 'utf8') : undefined;
    },
    readLink: (path) => linkTarget(locate(path)),
    list(path) {
      const place = follow(path);
      return lstatSync(place, { throwIfNoEntry: false })?.isDirectory() ? readdirSync(place).sort() : [];
    },
    makeDirectory(path, mode = 0o755) {
      const made: string[] = [];
      const parts = path.split('/').filter((part) => part !== '');
      for (let count = 1; count <= parts.length; count++) {
        const part = parts.slice(0, count).join('/');
        const place = follow(part);
        const there = lstatSync(place, { throwIfNoEntry: false });
        if (there?.isDirectory()) continue;
        if (there !== undefined) throw new ImageError(`/${part} is no directory`);
        // a link may lead to where not even the directories above are
        mkdirSync(place, { recursive: true });
        const fd = openSync(place, 'r');
        fchmodSync(fd, mode);
        closeSync(fd);
        if (isRoot) chownSync(place, 0, 0);
        made.push(part);
      }
      return made;
    },
    writeFile(path, content, mode) {
      const place = follow(path);
      const temporary = temporaryName(place);
      rmSync(temporary, { force: true });
      const fd = openSync(temporary, 'wx', mode);
      try {
        for (const piece of content) writeWhole(fd, piece);
        fchmodSync(fd, mode);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      if (isRoot) chownSync(temporary, 0, 0);
      replace(temporary, place);
    },
    writeLink(path, target) {
      const place = locate(path);
      const temporary = temporaryName(place);
      rmSync(temporary, { force: true });
      symlinkSync(target, temporary);
      replace(temporary, place);
    },
    remove(path) {
      const place = locate(path);
      rmSync(place, { force: true });
      rmSync(temporaryName(place), { force: true });
    },
    removeTree: (path) => rmSync(locate(path), { force: true, recursive: true }),
    removeEmptyDirectory(path) {
      try {
        rmdirSync(locate(path));
        return true;
      } catch {
        return false;
      }
    },
  };
}

function linkTarget(place: string): string | undefined {
  return lstatSync(place, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(place) : undefined;
}

function temporaryName(place: string): string {
  return join(dirname(place), `.${basename(place)}${TEMPORARY_SUFFIX}`);
}

function writeWhole(fd: number, piece: Uint8Array): void {
  for (let at = 0; at < piece.length; ) at += writeSync(fd, piece, at);
}

function replace(temporary: string, place: string): void {
  if (lstatSync(place, { throwIfNoEntry: false })?.isDirectory()) {
    rmSync(temporary);
    throw new ImageError(`${place} is a directory`);
  }
  renameSync(temporary, place);
  const fd = openSync(dirname(place), 'r');
  fsyncSync(fd);
  closeSync(fd);
}
