import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ImageRoot, openImageRoot } from '../../../src/install/image-root.ts';

let base: string;
let image: string;
let root: ImageRoot;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'image-root-'));
  image = join(base, 'image');
  mkdirSync(join(image, 'usr/lib'), { recursive: true });
  root = openImageRoot(image);
});
afterEach(() => rmSync(base, { recursive: true }));

const write = (path: string, text: string) => root.writeFile(path, [Buffer.from(text)], 0o644);

describe('paths are those of the image', () => {
  it.each([
    ['an absolute link', '/usr/lib', 'usr/lib/x'],
    ['a relative link', 'usr/lib', 'usr/lib/x'],
    ['a relative link that climbs out', '../../../usr/lib', 'usr/lib/x'],
    ['an absolute link that climbs out', '/../../usr/lib', 'usr/lib/x'],
  ])('%s', (_what, target, expected) => {
    symlinkSync(target, join(image, 'lib'));
    expect(root.locate('/lib/x')).toBe(join(image, expected));
  });

  it('a link at the end is followed only if asked', () => {
    symlinkSync('/outside', join(image, 'file'));
    expect(root.locate('file')).toBe(join(image, 'file'));
    expect(root.follow('file')).toBe(join(image, 'outside'));
  });

  it('a circle is an error', () => {
    symlinkSync('b', join(image, 'a'));
    symlinkSync('a', join(image, 'b'));
    expect(() => root.follow('a/x')).toThrow('too many links');
  });

  it('links of links', () => {
    symlinkSync('/two', join(image, 'one'));
    symlinkSync('usr', join(image, 'two'));
    expect(root.follow('one/lib')).toBe(join(image, 'usr/lib'));
  });
});

describe('nothing outside changes', () => {
  it('when directories, files, links are made or removed below a link to the outside', () => {
    const outside = join(base, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'kept'), 'kept');
    symlinkSync(outside, join(image, 'etc'));
    root.makeDirectory('etc/new');
    write('etc/new/file', 'text');
    root.writeLink('etc/new/link', 'file');
    root.remove('etc/kept');
    root.removeTree('etc/new');
    expect(readFileSync(join(outside, 'kept'), 'utf8')).toBe('kept');
    expect(existsSync(join(outside, 'new'))).toBe(false);
    expect(existsSync(join(image, outside))).toBe(true);
  });

  it('when a tree with links to the outside is removed', () => {
    const outside = join(base, 'outside');
    mkdirSync(outside);
    mkdirSync(join(image, 'var'));
    symlinkSync(outside, join(image, 'var/link'));
    root.removeTree('var');
    expect(existsSync(outside)).toBe(true);
    expect(existsSync(join(image, 'var'))).toBe(false);
  });
});

describe('writing', () => {
  it('replaces, sets the mode whatever the umask is, and leaves nothing beside', () => {
    const old = process.umask(0o077);
    try {
      write('file', 'one');
      root.writeFile('file', [Buffer.from('tw'), Buffer.from('o')], 0o755);
    } finally {
      process.umask(old);
    }
    expect(readFileSync(join(image, 'file'), 'utf8')).toBe('two');
    expect(lstatSync(join(image, 'file')).mode & 0o777).toBe(0o755);
    expect(root.list('')).toEqual(['file', 'usr']);
  });

  it('goes through a link that is there', () => {
    mkdirSync(join(image, 'run'));
    symlinkSync('/run/real', join(image, 'file'));
    write('file', 'text');
    expect(readFileSync(join(image, 'run/real'), 'utf8')).toBe('text');
    expect(lstatSync(join(image, 'file')).isSymbolicLink()).toBe(true);
  });

  it('takes over what an interrupted run has left', () => {
    writeFileSync(join(image, '.file.chr-agent-new'), 'half');
    write('file', 'whole');
    expect(root.list('')).toEqual(['file', 'usr']);
  });

  it('does not replace a directory', () => {
    expect(() => write('usr', 'x')).toThrow('is a directory');
    expect(() => root.writeLink('usr', 'x')).toThrow('is a directory');
  });

  it('tells which directories it made', () => {
    expect(root.makeDirectory('usr/share/doc')).toEqual(['usr/share', 'usr/share/doc']);
    expect(root.makeDirectory('usr/share/doc')).toEqual([]);
  });
});
