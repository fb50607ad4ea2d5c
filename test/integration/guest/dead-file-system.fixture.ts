/**
 * Runs in a mount namespace of its own: mounts a FUSE file system on a loop device, which nobody serves, and asks for the
 * file systems meanwhile: `node dead-file-system.fixture.ts FOLDER`, result as JSON on stdout. The file system dies with
 * this process, which holds its only descriptor.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, openSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createFileSystems } from '../../../src/guest/filesystems.ts';
import { native } from '../../../src/native/index.ts';

const folder = process.argv[2] ?? '';
const image = join(folder, 'image');
const place = join(folder, 'dead');
writeFileSync(image, '');
truncateSync(image, 1 << 20);
mkdirSync(place);
const loop = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
const server = openSync('/dev/fuse', 'r+');
const options = 'fd=3,rootmode=40000,user_id=0,group_id=0';
const mount = spawnSync('mount', ['-i', '-n', '-t', 'fuseblk', '-o', options, loop, place], {
  stdio: ['ignore', 'ignore', 'inherit', server],
  timeout: 5_000,
});
execFileSync('losetup', ['--detach', loop]);
if (mount.status !== 0) process.exit(1);

const warnings: string[] = [];
const ignore = () => {};
const log = { error: ignore, info: ignore, debug: ignore, warning: (text: string) => warnings.push(text) };
const systems = createFileSystems({ native, log, limitMs: 300 });
const threads = () => readdirSync('/proc/self/task').length;

const answers: unknown[] = [];
const threadCounts: number[] = [];
for (let round = 0; round < 5; round += 1) {
  const list = await systems.list();
  answers.push(
    list.map(({ mountPoint, usage }) => [mountPoint === place ? 'dead' : mountPoint, usage !== null]),
  );
  threadCounts.push(threads());
}
process.stdout.write(JSON.stringify({ answers, threadCounts, warnings: warnings.length }));
