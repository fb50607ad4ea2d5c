/** A file system whose server never answers holds up neither the list of file systems nor the process. Needs root and loop devices. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const possible =
  process.getuid?.() === 0 && ['/dev/fuse', '/dev/loop-control'].every((path) => existsSync(path));
const fixture = new URL('./dead-file-system.fixture.ts', import.meta.url).pathname;

describe.skipIf(!possible)('a dead file system', () => {
  it('is listed without sizes, and asked only once', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dead-fs-'));
    try {
      const args = ['--mount', '--propagation', 'private', process.execPath, fixture, folder];
      const { stdout } = await promisify(execFile)('unshare', args, { timeout: 30_000 });
      const { answers, threadCounts, warnings } = JSON.parse(stdout);
      for (const answer of answers) expect(answer).toContainEqual(['dead', false]);
      expect(new Set(threadCounts.slice(1)).size).toBe(1);
      expect(warnings).toBe(1);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
