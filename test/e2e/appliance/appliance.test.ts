/**
 * The agent in the appliance image with 128 MB, under QEMU (TCG): large transfers and many jobs are streamed, so they are answered in
 * time and leave no memory behind. With 96 MB small payloads must work; what becomes of large ones is told in the report.
 *
 * - `CHR_APPLIANCE_DIR`: where the reports are kept (default `.cache/appliance`)
 * - `CI=true`: what would be skipped is a failure
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildImage, type Image, reasonToSkip } from '../image/image.ts';
import { MIB, type Steps } from './loads.ts';
import { DIRTY_LIMIT_MIB, type Memory, memoryAlarms } from './memory.ts';
import { Trial } from './trial.ts';

const JOBS = 50;
const NOTHING: Steps = new Map();
/** How long a 96 MB guest may think about what it could not answer in time. */
const LATE_LIMIT_MS = 120_000;

// CI has the shorter boots of test/e2e/image
const longRun = process.env.CHR_AGENT_LONG === '1';
const obstacle = longRun
  ? reasonToSkip()
  : 'it belongs to the long run: make test-long or make appliance-test';
const title = `small guest${obstacle === undefined ? '' : ` (skipped: ${obstacle})`}`;

describe.skipIf(obstacle !== undefined)(title, { timeout: 300_000 }, () => {
  let image: Image | undefined;

  beforeAll(async () => {
    image = await buildImage();
    const sizes = [...image.sizes].map(([name, bytes]) => `${name} ${(bytes / MIB).toFixed(1)} MiB`);
    console.log(`image: ${sizes.join(', ')}`);
  });

  /** The guest that this block's tests share. */
  function boot(memoryMib: number): () => { trial: Trial; idle: Memory } {
    let started: Trial | undefined;
    let idle: Memory | undefined;
    beforeAll(async () => {
      if (image === undefined) throw new Error('there is no image');
      started = await Trial.boot(image, memoryMib);
      const pingS = started.vm.firstPingMs / 1000;
      await started.measure('booted', async () => new Map([['first ping', pingS]]));
      idle = await started.settle('idle');
    });
    afterAll(() => started?.close());
    return () => {
      if (started === undefined || idle === undefined) throw new Error('the guest did not come up');
      return { trial: started, idle };
    };
  }

  describe('128 MB', () => {
    const guest = boot(128);

    it('is idle in little memory', () => {
      expect(guest().idle.privateDirtyMib).toBeLessThan(DIRTY_LIMIT_MIB);
    });

    it('writes and reads 16 MiB in one request', async () => {
      const { trial } = guest();
      await trial.measure('file, 16 MiB a request', () => trial.loads.file(16 * MIB));
      await trial.measure('file, 1 MiB a request', () => trial.loads.file(MIB));
    });

    it('gives back 16 MiB of script output', async () => {
      const { trial } = guest();
      await trial.measure('output of 16 MiB', () => trial.loads.output());
      // 50 MiB of output beside the file just fit on the data partition: without a moment's pause the last job's is truncated
      await trial.settle('5 s later');
    });

    it(`runs ${JOBS} jobs of 1 MiB output`, async () => {
      const { trial } = guest();
      await trial.measure(`${JOBS} jobs of 1 MiB`, () => trial.loads.jobs(JOBS));
    });

    it('reads 48 MiB in one request', async () => {
      const { trial } = guest();
      await trial.measure('file read of 48 MiB', () => trial.loads.largestRead());
    });

    it('gives the memory back, and the daemon is still the same', async () => {
      const { trial, idle } = guest();
      const after = await trial.settle('5 s later');
      expect(after.privateDirtyMib).toBeLessThan(DIRTY_LIMIT_MIB);
      expect({ pid: after.pid, startTicks: after.startTicks }).toEqual({
        pid: idle.pid,
        startTicks: idle.startTicks,
      });
      expect(await memoryAlarms(trial.agent, await trial.vm.consoleText())).toEqual([]);
    });
  });

  describe('96 MB', () => {
    const guest = boot(96);

    it('runs a script and moves files in requests of 1 MiB', async () => {
      const { trial } = guest();
      expect(await trial.agent.run('echo hello')).toBe('hello\n');
      await trial.measure('file, 1 MiB a request', () => trial.loads.file(MIB));
    });

    it('is measured with large payloads', async () => {
      const { trial, idle } = guest();
      const loads: [string, () => Promise<Steps>][] = [
        ['output of 16 MiB', () => trial.loads.output()],
        [`${JOBS} jobs of 1 MiB`, () => trial.loads.jobs(JOBS)],
        ['file read of 48 MiB', () => trial.loads.largestRead()],
        ['file, 8 MiB a request', () => trial.loads.file(8 * MIB)],
        ['file, 16 MiB a request', () => trial.loads.file(16 * MIB)],
      ];
      let current = '';
      try {
        for (const [name, load] of loads) {
          current = name;
          await trial.measure(name, load);
          current = '5 s later';
          await trial.settle(current);
        }
        const { pid } = await trial.measure('all done', async () => NOTHING);
        const alarms = await memoryAlarms(trial.agent, await trial.vm.consoleText());
        trial.note('daemon', `${pid === idle.pid ? 'the same' : 'another'}, ${alarms.length} memory alarms`);
      } catch (error) {
        // the answer that was due would be taken for the next request's: the rest is not tried
        trial.note(current, error);
        trial.note(`${current}: its answer`, await trial.agent.lateAnswer(LATE_LIMIT_MS));
        const killed = /out of memory/i.test(await trial.vm.consoleText());
        trial.note('OOM kill', killed ? 'yes' : 'no');
      }
    });
  });
});
