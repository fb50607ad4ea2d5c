/**
 * The agent of the appliance image, killed at random moments while it writes files, runs scripts and freezes (issue 10): what it said
 * is done is done, once, and nothing stays frozen. Only in the long run.
 */
import { randomInt } from 'node:crypto';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Agent } from '../appliance/agent.ts';
import { longRun } from '../environment.ts';
import { buildImage, reasonToSkip } from './image.ts';
import { Vm } from './vm.ts';

const ROUNDS = 50;
/** CHR_E2E_SEED repeats a run's choices. */
const SEED = Number(process.env.CHR_E2E_SEED ?? randomInt(2 ** 31));
const LONGEST_S = 2;
/** No answer for so long: the agent is gone, or its file systems hang. */
const SILENCE_MS = 4_000;
const BACK_LIMIT_MS = 60_000;
const SYNC_MS = 2_000;
const COMPARED = 10;
/** Of the guest's available memory from the first rounds to the last. */
const LOST_MIB = 4;
const WRITTEN = '/var/lib/chr-agent/files/written.txt';
const RAN = '/var/lib/chr-agent/files/ran.txt';

const obstacle = longRun ? reasonToSkip() : 'only in the long run';

/** Numbers below `limit`, by the seed alone (a linear congruential generator, the constants of POSIX's rand48). */
let drawn = BigInt(SEED);
function draw(limit: number): number {
  drawn = (drawn * 0x5deece66dn + 11n) & 0xffffffffffffn;
  return Number((drawn >> 16n) % BigInt(limit));
}

describe.skipIf(obstacle !== undefined)(
  'the agent of the appliance is killed',
  { timeout: 1_200_000 },
  () => {
    let dir: string;
    let vm: Vm;
    let agent: Agent;
    /** What the agent has said is in the file. */
    const flushed: string[] = [];

    beforeAll(async () => {
      const { disk } = await buildImage();
      dir = await mkdtemp(path.join(tmpdir(), 'chr-image-kill-'));
      await copyFile(disk, path.join(dir, 'disk.img'));
      const hardware = { bus: 'virtio-blk', nic: 'virtio-net-pci' } as const;
      vm = await Vm.boot({ disk: path.join(dir, 'disk.img'), memoryMib: 128, hardware });
      agent = new Agent(vm.channel);
      await agent.run(`mkdir -p ${path.posix.dirname(RAN)}; : > ${RAN}; : > ${WRITTEN}`);
    }, 600_000);
    afterAll(async () => {
      await vm?.close();
      if (dir !== undefined) await rm(dir, { recursive: true, force: true });
    });

    const ask = async (execute: string, args: Record<string, unknown> = {}) => {
      const reply = await vm.channel.request(execute, args, SILENCE_MS);
      if (typeof reply !== 'object' || reply === null || !('return' in reply))
        throw new Error(`${execute}: ${JSON.stringify(reply)}`);
      return reply.return;
    };

    const works: readonly ((mark: string) => Promise<void>)[] = [
      async (mark) => {
        const handle = await ask('guest-file-open', { path: WRITTEN, mode: 'a' });
        const data = Buffer.from(`${mark}\n`).toString('base64');
        await ask('guest-file-write', { handle, 'buf-b64': data });
        await ask('guest-file-flush', { handle });
        flushed.push(mark);
        await ask('guest-file-close', { handle });
      },
      async (mark) => {
        await ask('guest-exec', { 'input-data': Buffer.from(`echo ${mark} >> ${RAN}\n`).toString('base64') });
      },
      async () => {
        await ask('guest-fsfreeze-freeze');
        await ask('guest-fsfreeze-status');
        await ask('guest-fsfreeze-thaw');
      },
    ];

    /** Works until the agent is gone. @returns how many works were done */
    async function workUntilSilence(round: number): Promise<number> {
      for (let count = 0; ; count += 1) {
        const work = works[draw(works.length)];
        try {
          await work?.(`${round}.${count}`);
        } catch {
          return count;
        }
      }
    }

    /** As hosts do: a reply that comes too late is not taken for another. */
    async function resynchronise(): Promise<void> {
      const limit = performance.now() + BACK_LIMIT_MS;
      for (let id = randomInt(2 ** 30); performance.now() < limit; id += 1) {
        const sync = `{"execute":"guest-sync-delimited","arguments":{"id":${id}}}\n`;
        await vm.channel.write(Buffer.concat([Buffer.from([0xff]), Buffer.from(sync)]));
        const end = performance.now() + SYNC_MS;
        while (performance.now() < end) {
          const line = await vm.channel.line(SYNC_MS).catch(() => Buffer.alloc(0));
          if (line.includes(`"return": ${id}}`)) return;
        }
      }
      throw new Error('the agent does not come back');
    }

    it(`${ROUNDS} times: it comes back, nothing is frozen, what was flushed is there, nothing ran twice`, async () => {
      console.log(`CHR_E2E_SEED=${SEED}`);
      const availableMib: number[] = [];
      let done = 0;
      const helpers = () => agent.run("ps | grep -c '[c]hr-agent-helper'");
      const helpersBefore = await helpers();
      for (let round = 0; round < ROUNDS; round += 1) {
        const before = await agent.run('pidof node');
        await ask('guest-exec', {
          'input-data': Buffer.from(
            `sleep ${(draw(LONGEST_S * 1000) / 1000).toFixed(3)}; kill -9 ${before.trim()}\n`,
          ).toString('base64'),
        });
        done += await workUntilSilence(round);
        await resynchronise();
        expect(await agent.run('pidof node')).not.toBe(before);
        expect(await ask('guest-fsfreeze-status')).toBe('thawed');
        const written = (await agent.run(`sync; cat ${WRITTEN}`)).trim().split('\n');
        expect(written.filter((line) => flushed.includes(line))).toEqual(flushed);
        expect(new Set(written).size).toBe(written.length);
        expect(await agent.run(`sort ${RAN} | uniq -d`)).toBe('');
        await sleep(2_500); // memory of the start is given back
        availableMib.push(Number(await agent.run("awk '/^MemAvailable/ { print $2 / 1024 }' /proc/meminfo")));
      }
      expect(await helpers()).toBe(helpersBefore);
      const median = (values: readonly number[]) =>
        values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
      const [first, last] = [median(availableMib.slice(0, COMPARED)), median(availableMib.slice(-COMPARED))];
      console.log(
        `${ROUNDS} kills, ${done} works, available memory ${first} MiB at first, ${last} MiB at last`,
      );
      expect(last).toBeGreaterThan(first - LOST_MIB);
      // each kind of work was there
      expect(flushed.length).toBeGreaterThan(0);
      expect(Number(await agent.run(`grep -c . ${RAN}`))).toBeGreaterThan(0);
    });
  },
);
