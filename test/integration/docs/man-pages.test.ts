/** packaging/man is what scripts/man-pages.ts makes, and what groff and mandoc find good. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { manPages } from '../../../scripts/man-pages.ts';
import { PROJECT } from './markdown.ts';

const isThere = (program: string): boolean => existsSync(`/usr/bin/${program}`);

describe.each(Object.entries(manPages()))('%s', (name, text) => {
  const path = join(PROJECT, 'packaging/man', name);
  const complaints = (program: string, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(program, [...args, path], { encoding: 'utf8' });
    return { status, text: stdout + stderr };
  };

  it('is up to date: else run node scripts/man-pages.ts', () => {
    expect(readFileSync(path, 'utf8')).toBe(text);
  });

  it.runIf(isThere('groff'))('groff has nothing to say', () => {
    expect(complaints('groff', '-man', '-ww', '-Tutf8', '-z')).toEqual({ status: 0, text: '' });
  });

  it.runIf(isThere('mandoc'))('mandoc has nothing to say', () => {
    expect(complaints('mandoc', '-Tlint')).toEqual({ status: 0, text: '' });
  });
});
