/** A script as another user: what it is, what it may, and that it ends with the others. */
import { chmodSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JobSource } from '../../../src/scripts/job.ts';
import { openEngine, type TestEngine, textOf } from './engine.ts';

const ACCOUNT = { name: 'operator', uid: 64_123, gid: 64_124, groups: [64_124, 64_125], home: '/' };

let test: TestEngine;
beforeEach(async () => {
  test = await openEngine();
  chmodSync(test.directory, 0o755);
});
afterEach(() => test[Symbol.asyncDispose]());

async function run(source: JobSource | string, timeLimitMs = 20_000) {
  const job = await test.engine.start({
    origin: 'test',
    source: typeof source === 'string' ? { kind: 'text', text: Buffer.from(source) } : source,
    timeLimitMs,
    captureOutput: true,
    account: ACCOUNT,
  });
  return { outcome: await job.finished, output: await textOf(job.output) };
}

describe.skipIf(process.getuid?.() !== 0)('a script with an account', () => {
  it('is that user, with these groups, and no way back', async () => {
    const { output } = await run(
      'id -ru; id -u; id -rg; id -g; id -G; pwd; echo "$HOME $USER $LOGNAME"; grep -E "^(Uid|Gid|CapEff)" /proc/self/status',
    );
    expect(output).toBe(
      '64123\n64123\n64124\n64124\n64124 64125\n' +
        `${test.filesDir}\n/ operator operator\n` +
        'Uid:\t64123\t64123\t64123\t64123\nGid:\t64124\t64124\t64124\t64124\nCapEff:\t0000000000000000\n',
    );
  });
  it('can read its own text, and nobody else can', async () => {
    const { output } = await run('stat -c "%a %u" "$0"; ls "$(dirname "$0")" 2>/dev/null || echo no list');
    expect(output).toBe('600 64123\nno list\n');
  });
  it('may not read what is not for the user', async () => {
    const path = join(test.filesDir, 'secret');
    writeFileSync(path, 'echo secret', { mode: 0o600 });
    expect((await run({ kind: 'file', path: 'secret' })).outcome).toMatchObject({ kind: 'failed' });
    mkdirSync(join(test.filesDir, 'roots'));
    expect((await run('touch roots/x')).outcome).toMatchObject({ kind: 'failed' });
    expect(statSync(join(test.filesDir, 'roots')).uid).toBe(0);
  });
  it('runs out of time with all that it started', async () => {
    expect((await run('setsid sleep 60 & sleep 60', 300)).outcome).toEqual({ kind: 'timed-out' });
  });
});
