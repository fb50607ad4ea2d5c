// The scripts of open-vm-tools around a freeze: spec vmware.md section 8.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createFreezeGate } from '../../../../src/guest/freeze-gate.ts';
import { backupScripts } from '../../../../src/protocols/vmtools/backup/tools-scripts.ts';
import { recordingLog } from '../../../support/quiet-log.ts';

async function bench(
  fails: (call: string) => boolean,
  work: (hooks: ReturnType<typeof backupScripts>, calls: string[]) => Promise<void>,
  { old = true, argument = null as string | null } = {},
): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'backup-scripts-'));
  const directory = join(root, 'backupScripts.d');
  mkdirSync(join(directory, '15-directory'), { recursive: true });
  for (const name of ['20-b', '10-a', 'B']) writeFileSync(join(directory, name), '');
  if (old) for (const name of ['pre', 'post']) writeFileSync(join(root, name), '');
  const calls: string[] = [];
  const hooks = backupScripts({
    async run({ args }) {
      const [, , path = '', ...words] = args;
      const call = [basename(path), ...words].join(' ');
      calls.push(call);
      return { kind: 'exited', program: '/bin/sh', code: fails(call) ? 1 : 0, output: Buffer.alloc(0) };
    },
    gate: createFreezeGate(),
    log: recordingLog(),
    directory,
    argument,
    old: { freeze: join(root, 'pre'), thaw: join(root, 'post') },
  });
  try {
    await work(hooks, calls);
  } finally {
    rmSync(root, { recursive: true });
  }
}

const never = () => false;
const signal = new AbortController().signal;

describe('backup scripts', () => {
  it('go up to the freeze and down to the thaw', async () => {
    await bench(never, async (hooks, calls) => {
      expect(await hooks.freeze(signal)).toBe(null);
      expect(calls.splice(0)).toEqual(['pre freeze', '10-a freeze', '20-b freeze', 'B freeze']);
      expect(await hooks.thaw()).toBe(null);
      expect(calls).toEqual(['B thaw', '20-b thaw', '10-a thaw', 'post thaw']);
    });
  });

  it('of which one fails are told so below it', async () => {
    await bench(
      (call) => call === '20-b freeze',
      async (hooks, calls) => {
        expect(await hooks.freeze(signal)).toMatchObject({ kind: 'program' });
        await hooks.freezeFailed('freeze-hook');
        expect(calls.slice(3)).toEqual(['10-a freezeFail', 'post freezeFail']);
      },
    );
  });

  it('all run after a thaw, whichever fails', async () => {
    await bench(
      (call) => call === 'B thaw',
      async (hooks, calls) => {
        await hooks.freeze(signal);
        expect(await hooks.thaw()).toMatchObject({ kind: 'program' });
        expect(calls).toHaveLength(8);
      },
    );
  });

  it.for([
    ['two words', 'two words'],
    ['', ''],
  ])('get the argument %j', async ([argument, shown]) => {
    await bench(
      never,
      async (hooks, calls) => {
        await hooks.freeze(signal);
        expect(calls[0]).toBe(`10-a freeze ${shown}`);
      },
      { old: false, argument: argument ?? null },
    );
  });
});
