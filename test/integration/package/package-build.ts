/** The package as packaging/build-package makes it, uncompressed, once for a test file. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const PROJECT = new URL('../../..', import.meta.url).pathname;

/** @returns the directory with the two files and what the builder printed */
export function buildPackage(project = PROJECT, env: NodeJS.ProcessEnv = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'package-'));
  const printed = execFileSync(join(project, 'packaging/build-package'), ['--uncompressed', directory], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  const file = (ending: string) => {
    const name = readdirSync(directory).find((entry) => entry.endsWith(ending));
    if (name === undefined) throw new Error(`no ${ending} in ${directory}`);
    return join(directory, name);
  };
  return { directory, printed, deb: file('.deb'), tar: file('.tar.gz') };
}
