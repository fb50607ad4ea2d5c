// guest-fsfreeze-* as a host sees them: spec qemu-ga.md sections 4 and 5.
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createProgramRunner } from '../../../src/guest/program.ts';
import { native } from '../../../src/native/index.ts';
import { programHooks } from '../../../src/quiesce/hooks.ts';
import { LineClient } from '../../support/line-client.ts';
import { type OurAgent, startOurAgent } from '../../support/qga-service.ts';
import type { TestQuiescerOptions } from '../../support/quiescer.ts';
import { recordingLog } from '../../support/quiet-log.ts';
import { hookRunsIn, writeHook } from './agent.ts';
import { canMount, isFrozen, LoopMounts } from './loop-mounts.ts';

const ENABLED_WHILE_FROZEN = [
  'guest-sync-delimited',
  'guest-sync',
  'guest-ping',
  'guest-info',
  'guest-fsfreeze-status',
  'guest-fsfreeze-thaw',
];

describe.skipIf(!canMount)('guest-fsfreeze-*', () => {
  let mounts: LoopMounts;
  let first: string;
  let agent: OurAgent;
  let host: LineClient;

  beforeAll(() => {
    mounts = new LoopMounts();
    first = mounts.add('first');
    mounts.add('second');
  });
  beforeEach(() => mounts.armWatchdogs());
  afterEach(async () => {
    await host.close();
    await agent.stop();
    expect(mounts.thawAll()).toBe(false);
  });
  afterAll(() => mounts.remove());

  async function start(compat: 'chr' | 'upstream' = 'chr', freezing: Partial<TestQuiescerOptions> = {}) {
    agent = await startOurAgent(
      { compat, blockedCommands: ['guest-ping'] },
      { readMounts: mounts.readMounts, ...freezing },
    );
    host = new LineClient(agent.socketPath);
  }

  const status = () => host.result('guest-fsfreeze-status');

  describe('in the chr profile', () => {
    beforeEach(async () => {
      await start();
      for (const name of ['freeze', 'freeze-fail', 'thaw']) writeHook(agent.directory, name, 'true');
    });

    it('status, freeze, thaw', async () => {
      expect(await status()).toBe('thawed');
      expect(await host.result('guest-fsfreeze-freeze')).toBe(2);
      expect(await status()).toBe('frozen');
      expect(await isFrozen(first)).toBe(true);
      expect(await host.result('guest-fsfreeze-thaw')).toBe(2);
      expect(await status()).toBe('thawed');
      expect(await isFrozen(first)).toBe(false);
      expect(await host.result('guest-fsfreeze-thaw')).toBe(0);
      expect(hookRunsIn(agent.directory)).toEqual(['freeze', 'thaw', 'thaw']);
    });

    it.each([
      [undefined, 2],
      [{}, 2],
      [{ mountpoints: [] }, 0],
      [{ mountpoints: ['/', '/nowhere'] }, 0],
    ])('freeze-list %j gives %i', async (args, count) => {
      expect(await host.result('guest-fsfreeze-freeze-list', args)).toBe(count);
      expect(await status()).toBe(count === 0 ? 'thawed' : 'frozen');
      expect(await host.result('guest-fsfreeze-thaw')).toBe(count);
    });

    it('freeze-list of one', async () => {
      expect(await host.result('guest-fsfreeze-freeze-list', { mountpoints: [first] })).toBe(1);
      expect(await host.result('guest-fsfreeze-thaw')).toBe(1);
    });

    it.each([
      [{ mountpoints: 'a' }, "Invalid parameter type for 'mountpoints', expected: array"],
      [{ mountpoints: [1] }, "Invalid parameter type for 'mountpoints[0]', expected: string"],
      [{ mounts: [] }, "Parameter 'mounts' is unexpected"],
    ])('freeze-list refuses %j', async (args, desc) => {
      expect(await host.command('guest-fsfreeze-freeze-list', args)).toEqual({
        error: { class: 'GenericError', desc },
      });
      expect(await status()).toBe('thawed');
    });

    it('while frozen six commands are enabled, whatever the lists say', async () => {
      const enabled = async () => {
        const info = (await host.result('guest-info')) as {
          supported_commands: { name: string; enabled: boolean }[];
        };
        return info.supported_commands.filter((each) => each.enabled).map(({ name }) => name);
      };
      expect(await enabled()).not.toContain('guest-ping');
      await host.result('guest-fsfreeze-freeze');
      expect((await enabled()).toSorted()).toEqual(ENABLED_WHILE_FROZEN.toSorted());
      expect(await host.result('guest-ping')).toEqual({});
      expect(await host.result('guest-sync', { id: 7 })).toBe(7);
      expect(await host.command('guest-fsfreeze-freeze')).toEqual({
        error: {
          class: 'CommandNotFound',
          desc: 'Command guest-fsfreeze-freeze has been disabled: the command is not allowed',
        },
      });
      await host.result('guest-fsfreeze-thaw');
      expect(await enabled()).not.toContain('guest-ping');
    });

    it('a status behind a freeze is asked after it', async () => {
      writeHook(agent.directory, 'freeze', 'sleep 0.3');
      host.send('{"execute":"guest-fsfreeze-freeze"}\n{"execute":"guest-fsfreeze-status"}\n');
      expect(await host.reply()).toEqual({ return: 2 });
      expect(await host.reply()).toEqual({ return: 'frozen' });
      await host.result('guest-fsfreeze-thaw');
    });

    it('a hook that fails is an error, and nothing is frozen', async () => {
      writeHook(agent.directory, 'freeze', 'echo broken; exit 1');
      expect(await host.command('guest-fsfreeze-freeze')).toEqual({
        error: { class: 'GenericError', desc: 'the freeze script failed: exit status 1' },
      });
      expect(await status()).toBe('thawed');
      expect(hookRunsIn(agent.directory)).toEqual(['freeze', 'freeze-fail']);
      expect(readFileSync(join(agent.filesDir, 'freeze-script.log'), 'utf8')).toBe('broken\n');
    });

    it('nothing of the log comes out while frozen, and all of it later', async () => {
      await host.result('guest-fsfreeze-freeze');
      expect(agent.gate.frozen).toBe(true);
      await host.result('guest-fsfreeze-thaw');
      expect(agent.logLines).toContainEqual(expect.stringContaining('2 file systems are frozen'));
    });
  });

  it('after an automatic thaw: thawed, and the next thaw is an error', async () => {
    await start('chr', { timeLimitMs: 2_000 });
    await host.result('guest-fsfreeze-freeze');
    while ((await status()) === 'frozen') await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await host.command('guest-fsfreeze-thaw')).toEqual({
      error: {
        class: 'GenericError',
        desc: 'file systems were thawed by the guard after 2 s: a backup taken meanwhile is not consistent',
      },
    });
    expect(await host.result('guest-fsfreeze-thaw')).toBe(0);
  });

  describe("with qemu-ga's hook program", () => {
    const log = recordingLog();

    /** `then` has the argument as $1. */
    async function startWithHook(then: string | null, path = join(mounts.directory, 'hook')) {
      rmSync(`${path}.runs`, { force: true });
      rmSync(path, { force: true });
      if (then !== null) {
        writeFileSync(path, `#!/bin/sh\necho "$*" >> ${path}.runs\n${then}\n`);
        chmodSync(path, 0o755);
      }
      await start('upstream', { hooks: programHooks(path, createProgramRunner(native), log) });
      return {
        runs: () =>
          existsSync(`${path}.runs`) ? readFileSync(`${path}.runs`, 'utf8').trim().split('\n') : [],
      };
    }

    it('it is called with freeze and thaw', async () => {
      const hook = await startWithHook('echo fine');
      expect(await host.result('guest-fsfreeze-freeze')).toBe(2);
      expect(await host.result('guest-fsfreeze-thaw')).toBe(2);
      expect(hook.runs()).toEqual(['freeze', 'thaw']);
    });

    it('its failure stops the freeze, and it is not told to thaw', async () => {
      const hook = await startWithHook('echo out; echo err >&2; exit 3');
      expect(await host.command('guest-fsfreeze-freeze')).toEqual({
        error: {
          class: 'GenericError',
          desc: 'child process has failed to execute fsfreeze hook: out\nerr',
        },
      });
      expect(await status()).toBe('thawed');
      expect(hook.runs()).toEqual(['freeze']);
    });

    it('its failure after the thaw is an error although all is thawed', async () => {
      const hook = await startWithHook('test "$1" = freeze');
      expect(await host.result('guest-fsfreeze-freeze')).toBe(2);
      expect(await host.command('guest-fsfreeze-thaw')).toMatchObject({
        error: { desc: 'child process has failed to execute fsfreeze hook: exit status 1' },
      });
      expect(await status()).toBe('thawed');
      expect(hook.runs()).toEqual(['freeze', 'thaw']);
    });

    it('a missing one is a failure', async () => {
      await startWithHook(null);
      expect(await host.command('guest-fsfreeze-freeze')).toMatchObject({
        error: {
          desc: expect.stringMatching(
            /^child process has failed to execute fsfreeze hook: failed to exec '.*\/hook': No such file or directory$/,
          ),
        },
      });
    });

    it('nothing frozen: it is not told to thaw until the host says so', async () => {
      const hook = await startWithHook('true');
      expect(await host.result('guest-fsfreeze-freeze-list', { mountpoints: [] })).toBe(0);
      expect(hook.runs()).toEqual(['freeze']);
      expect(await host.result('guest-fsfreeze-thaw')).toBe(0);
      expect(hook.runs()).toEqual(['freeze', 'thaw']);
    });
  });
});
