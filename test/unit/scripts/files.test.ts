import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errnoOf, inspectScript, resolveInFilesDir } from '../../../src/scripts/files.ts';

const { ENOENT, EACCES, EISDIR, EINVAL, ENOTDIR } = constants.errno;
let base = '';
let files = '';

beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'chr-agent-files-'));
  files = join(base, 'files');
  mkdirSync(join(files, 'sub'), { recursive: true });
  mkdirSync(join(base, 'files-not'));
  writeFileSync(join(base, 'files-not/x.sh'), '#!/bin/sh\n', { mode: 0o755 });
  writeFileSync(join(files, 'x.sh'), '#!/bin/sh\n', { mode: 0o755 });
  writeFileSync(join(files, 'plain'), 'echo', { mode: 0o644 });
  writeFileSync(join(files, 'big'), Buffer.alloc(1000, 0x61));
  symlinkSync('../x.sh', join(files, 'sub/inner-link'));
  symlinkSync('../files-not/x.sh', join(files, 'outer-link'));
  symlinkSync('../files-not', join(files, 'outer-dir'));
  symlinkSync('/nowhere/at/all', join(files, 'dangling'));
  execFileSync('mkfifo', [join(files, 'fifo')]);
  chmodSync(join(files, 'fifo'), 0o755);
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

const errno = (promise: Promise<unknown>) =>
  promise.then(
    () => 0,
    (error: unknown) => errnoOf(error),
  );

describe('paths in the files directory', () => {
  it.each([
    ['x.sh', 'x.sh'],
    ['./sub/../x.sh', 'x.sh'],
    ['sub/inner-link', 'x.sh'],
    ['new-file', 'new-file'],
    ['sub/new-file', 'sub/new-file'],
  ])('%s', async (path, expected) => {
    expect(await resolveInFilesDir(files, path)).toBe(join(files, expected));
  });

  it('takes an absolute path as it is', async () => {
    expect(await resolveInFilesDir(files, '/no/such/../file')).toBe('/no/such/../file');
  });

  it.each([
    ['../files-not/x.sh', EACCES],
    ['sub/../../files-not/x.sh', EACCES],
    ['..', EACCES],
    ['outer-link', EACCES],
    ['outer-dir/x.sh', EACCES],
    ['outer-dir/new-file', EACCES],
    ['dangling', EACCES],
    ['', ENOENT],
    ['a\0b', EINVAL],
    ['missing/new-file', ENOENT],
    ['x.sh/new-file', ENOTDIR],
  ])('refuses %j', async (path, expected) => {
    expect(await errno(resolveInFilesDir(files, path))).toBe(expected);
  });
});

describe('looking at a script', () => {
  it('tells what matters for running it', async () => {
    expect(await inspectScript(files, 'x.sh')).toEqual({
      path: join(files, 'x.sh'),
      head: Buffer.from('#!/bin/sh\n'),
      executable: true,
    });
    expect((await inspectScript(files, 'plain')).executable).toBe(false);
    expect((await inspectScript(files, join(base, 'files-not/x.sh'))).executable).toBe(true);
    expect((await inspectScript(files, 'big')).head.length).toBe(256);
  });

  it.each([
    ['missing', ENOENT],
    ['sub', EISDIR],
    ['.', EISDIR],
    // and it must not wait for the FIFO's writer
    ['fifo', EACCES],
    ['/dev/null', EACCES],
    ['/no/such/file', ENOENT],
  ])('refuses %s', async (path, expected) => {
    expect(await errno(inspectScript(files, path))).toBe(expected);
  });
});
