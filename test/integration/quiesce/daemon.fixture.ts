/**
 * A daemon to kill: `node daemon.fixture.ts DIRECTORY MOUNTS TIME-LIMIT-MS` freezes all below MOUNTS, and says what became of
 * that and of each line `thaw` on its stdin, as a line of JSON. A line `write PATH` has a thread of its pool write there.
 */
import { promises as fs } from 'node:fs';
import { createInterface } from 'node:readline';
import { readMounts } from '../../../src/guest/mounts.ts';
import { startQuiesceAgent } from './agent.ts';

const [directory = '', mounts = '', timeLimitMs = '0'] = process.argv.slice(2);
if (!mounts.startsWith('/tmp/')) throw new Error('only file systems of tests may be frozen');

const { quiescer } = await startQuiesceAgent(
  () => readMounts().filter(({ mountPoint }) => mountPoint.startsWith(`${mounts}/`)),
  { timeLimitMs: Number(timeLimitMs) },
  directory,
);

async function say(count: Promise<number>): Promise<void> {
  const said = await count.then(
    (value) => ({ count: value }),
    (error: unknown) => ({ error: String(error) }),
  );
  process.stdout.write(`${JSON.stringify(said)}\n`);
}

await say(quiescer.freeze('test'));
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'thaw') await say(quiescer.thaw('test'));
  if (line.startsWith('write ')) void fs.writeFile(line.slice('write '.length), 'text');
}
