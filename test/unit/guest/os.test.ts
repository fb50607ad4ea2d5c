import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { osFacts, parseOsRelease } from '../../../src/guest/os.ts';

const value = (text: string) => parseOsRelease(Buffer.from(`KEY=${text}\n`)).get('KEY');

describe('os-release (spec/qemu-ga.md section 5, guest-get-osinfo)', () => {
  it.each([
    ['debian', 'debian'],
    ['"Debian GNU/Linux 12"', 'Debian GNU/Linux 12'],
    ['one two', 'one'],
    ['one;two', 'one'],
    ["'single quotes stay'", "'single"],
    [String.raw`"a \$ \' \" \\ \` b"`, `a $ ' " \\ \` b`],
    [String.raw`"other \n stays"`, String.raw`other \n stays`],
    ['"ends" here', 'ends'],
    ['"never ends', 'never ends'],
    ['""', ''],
    ['', ''],
  ])('%s', (text, expected) => {
    expect(value(text)).toBe(expected);
  });

  it('skips comments and lines without a key; the last of two wins', () => {
    const text = '# ID=no\n\nID=a\r\nrubbish\n=x\nID=b\n NAME = c\n';
    expect([...parseOsRelease(Buffer.from(text))]).toEqual([
      ['ID', 'b'],
      ['NAME', 'c'],
    ]);
  });

  it('bad UTF-8: as if missing', () => {
    expect(parseOsRelease(Buffer.from('ID=a\nNAME=\xff\n', 'latin1')).size).toBe(0);
  });
});

describe('osFacts', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'chr-agent-os-'));
    mkdirSync(join(root, 'etc'));
    mkdirSync(join(root, 'usr/lib'), { recursive: true });
    writeFileSync(join(root, 'usr/lib/os-release'), 'ID=vendor\n');
  });
  afterEach(() => rmSync(root, { recursive: true }));

  it('/etc before /usr/lib, a given file before both', () => {
    expect(osFacts({ root }).release.get('ID')).toBe('vendor');
    writeFileSync(join(root, 'etc/os-release'), 'ID=local\n');
    expect(osFacts({ root }).release.get('ID')).toBe('local');
    writeFileSync(join(root, 'mine'), 'ID=mine\n');
    expect(osFacts({ root, releaseFile: join(root, 'mine') }).release.get('ID')).toBe('mine');
    expect(osFacts({ root, releaseFile: join(root, 'none') }).release.size).toBe(0);
  });

  it('the kernel', () => {
    expect(osFacts({ root }).kernelRelease).toBe(release());
  });
});
