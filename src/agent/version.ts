/** The agent's own version: esbuild puts it into the bundle; the sources ask package.json. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

declare const __VERSION__: string;

export const VERSION: string = typeof __VERSION__ === 'string' ? __VERSION__ : versionOfSources();

function versionOfSources(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'));
  const { version } = manifest as { version?: unknown };
  return typeof version === 'string' ? version : 'unknown';
}
