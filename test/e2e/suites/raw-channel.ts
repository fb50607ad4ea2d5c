/**
 * The agent's channel without libvirt between: the test is the host's process on QEMU's socket. spec/qemu-ga.md section 1 and
 * docs/architecture.md on virtio-serial: host disconnect and reconnect.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Channel } from '../channel.ts';
import { agentName, longRun } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { note } from '../libvirt.ts';
import { testBytes } from './files.ts';

const ROUNDS = 1000;
const CHUNK_BYTES = 1 << 20;
const AWAY_MS = 10_000;
const WINDOWS = agentName === 'chr-agent' ? 3 : 1;
const TRANSFER_BYTES = longRun ? 1 << 30 : 64 << 20;
/** What the daemon's resident memory may grow by in a transfer: a few chunks, and what malloc has not given back yet. */
const MEMORY_GROWTH_KIB = 48 << 10;

const daemonProgram = agentName === 'chr-agent' ? '/usr/lib/chr-agent/dist/node' : '/usr/sbin/qemu-ga';
const handleReply = v.object({ return: v.pipe(v.number(), v.integer()) });

/** What the kernel counts of the daemon, all threads together. */
interface Activity {
  readonly contextSwitches: number;
  readonly cpuTicks: number;
  readonly residentKiB: number;
}

async function activity(guest: Guest): Promise<Activity> {
  const { output } = await guest.console.run(
    `cd /proc/$(pidof ${daemonProgram}) && awk '/ctxt_switches/ { n += $2 } END { print n }' task/*/status &&
     awk '/VmRSS/ { print $2 }' status && cat stat`.replace(/\s*\n\s*/g, ' '),
  );
  const [contextSwitches, residentKiB, stat = ''] = output.split('\n');
  // the second field, the name in parentheses, may hold blanks; utime and stime are fields 14 and 15
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return {
    contextSwitches: Number(contextSwitches),
    residentKiB: Number(residentKiB),
    cpuTicks: Number(fields[11]) + Number(fields[12]),
  };
}

/**
 * Growth in the quietest of the windows: the runtime tidies up on its own some seconds after work (garbage, memory
 * given back), once; a poll or a spin would show in every window.
 */
async function quietestWindow(guest: Guest): Promise<{ contextSwitches: number; cpuTicks: number }> {
  let least = { contextSwitches: Number.POSITIVE_INFINITY, cpuTicks: Number.POSITIVE_INFINITY };
  for (let attempt = 0; attempt < WINDOWS && least.contextSwitches > 0; attempt += 1) {
    const before = await activity(guest);
    await sleep(AWAY_MS);
    const after = await activity(guest);
    const contextSwitches = after.contextSwitches - before.contextSwitches;
    if (contextSwitches < least.contextSwitches) {
      least = { contextSwitches, cpuTicks: after.cpuTicks - before.cpuTicks };
    }
  }
  return least;
}

export function rawChannelSuite(guest: () => Guest): void {
  describe('raw channel, libvirtd stopped', () => {
    const open = () => Channel.open(guest().agentSocket);

    beforeAll(async () => {
      await guest().libvirt.stopDaemon();
    });

    afterAll(async () => {
      await guest().libvirt.startDaemon();
    });

    it('guest-sync-delimited after 0xFF', async () => {
      const channel = await open();
      try {
        const request = '{"execute":"guest-sync-delimited","arguments":{"id":9007199254740993}}\n';
        await channel.write(Buffer.concat([Buffer.from([0xff]), Buffer.from(request)]));
        // 0xFF ends whatever was half read, and is an error itself
        const error: unknown = JSON.parse((await channel.line()).toString('latin1'));
        expect(error).toMatchObject({ error: { class: 'GenericError' } });
        const reply = await channel.line();
        expect(reply[0]).toBe(0xff);
        expect(reply.subarray(1).toString('latin1')).toMatch(/^\{"return": 9007199254740993\}$/);
      } finally {
        await channel.close();
      }
    });

    it("Proxmox's two lines in one write", async () => {
      const channel = await open();
      try {
        const sync = '{"execute":"guest-sync-delimited","arguments":{"id":123401}}\n';
        const ping = '{"execute":"guest-ping","arguments":{}}\n';
        await channel.write(Buffer.concat([Buffer.from([0xff]), Buffer.from(sync + ping)]));
        await channel.line();
        expect((await channel.line()).subarray(1).toString()).toBe('{"return": 123401}');
        expect((await channel.line()).toString()).toBe('{"return": {}}');
      } finally {
        await channel.close();
      }
    });

    it(`${ROUNDS} rounds of connect, request, reply, close lose no reply`, { timeout: 600_000 }, async () => {
      const lost: number[] = [];
      const start = performance.now();
      for (let round = 1; round <= ROUNDS && lost.length < 5; round += 1) {
        const channel = await open();
        const reply = await channel
          .request('guest-sync', { id: round }, 5000)
          .catch((error: unknown) => error);
        await channel.close();
        if (v.is(handleReply, reply) && reply.return === round) continue;
        lost.push(round);
      }
      note(`${ROUNDS} rounds on the raw channel in ${((performance.now() - start) / 1000).toFixed(1)} s`);
      expect(lost).toEqual([]);
    });

    it('sleeps while the host is away, and answers at once when it is back', async () => {
      await sleep(3000);
      const growth = await quietestWindow(guest());
      const start = performance.now();
      const channel = await open();
      expect(await channel.request('guest-ping')).toEqual({ return: {} });
      const backMs = performance.now() - start;
      await channel.close();
      note(
        `host away ${AWAY_MS} ms: ${growth.contextSwitches} context switches, ${growth.cpuTicks} ticks; ` +
          `first answer ${backMs.toFixed(0)} ms after the reconnect`,
      );
      expect(backMs).toBeLessThan(5000);
      // qemu-ga looks ten times a second
      if (agentName === 'chr-agent') expect(growth).toEqual({ contextSwitches: 0, cpuTicks: 0 });
    });

    it('sleeps while the host is connected and idle', async () => {
      const channel = await open();
      try {
        expect(await channel.request('guest-ping')).toEqual({ return: {} });
        await sleep(3000);
        const growth = await quietestWindow(guest());
        note(`idle ${AWAY_MS} ms: ${growth.contextSwitches} context switches, ${growth.cpuTicks} ticks`);
        expect(growth).toEqual({ contextSwitches: 0, cpuTicks: 0 });
      } finally {
        await channel.close();
      }
    });

    describe(`${TRANSFER_BYTES >> 20} MiB in chunks of 1 MiB`, { timeout: 1_800_000 }, () => {
      const chunk = testBytes(CHUNK_BYTES);
      const chunks = TRANSFER_BYTES / CHUNK_BYTES;
      const file = '/root/big.bin';
      const handleOf = async (channel: Channel, mode: string) =>
        v.parse(handleReply, await channel.request('guest-file-open', { path: file, mode })).return;

      async function measured(
        direction: string,
        transfer: (channel: Channel) => Promise<void>,
      ): Promise<void> {
        const channel = await open();
        const before = await activity(guest());
        const start = performance.now();
        try {
          await transfer(channel);
        } finally {
          await channel.close();
        }
        const seconds = (performance.now() - start) / 1000;
        const after = await activity(guest());
        const grownKiB = after.residentKiB - before.residentKiB;
        note(
          `${TRANSFER_BYTES >> 20} MiB ${direction} in ${seconds.toFixed(1)} s ` +
            `(${(TRANSFER_BYTES / (1 << 20) / seconds).toFixed(1)} MiB/s); daemon's memory ${before.residentKiB} -> ` +
            `${after.residentKiB} KiB`,
        );
        expect(grownKiB).toBeLessThan(MEMORY_GROWTH_KIB);
      }

      it('host to guest', async () => {
        await measured('up', async (channel) => {
          const handle = await handleOf(channel, 'w');
          const request = Buffer.from(
            `{"execute":"guest-file-write","arguments":{"handle":${handle},"buf-b64":"${chunk.toString('base64')}"}}\n`,
          );
          for (let n = 0; n < chunks; n += 1) {
            await channel.write(request);
            expect(JSON.parse((await channel.line()).toString())).toEqual({
              return: { count: CHUNK_BYTES, eof: false },
            });
          }
          expect(await channel.request('guest-file-close', { handle })).toEqual({ return: {} });
        });
        const sum = createHash('sha256');
        for (let n = 0; n < chunks; n += 1) sum.update(chunk);
        const seen = await guest().console.run(`sha256sum ${file}`, 300_000);
        expect(seen.output.split(' ')[0]).toBe(sum.digest('hex'));
      });

      it('guest to host', async () => {
        const expected = chunk.toString('base64');
        await measured('down', async (channel) => {
          const handle = await handleOf(channel, 'r');
          for (let n = 0; n < chunks; n += 1) {
            const reply = await channel.request('guest-file-read', { handle, count: CHUNK_BYTES });
            const { return: result } = v.parse(
              v.object({ return: v.object({ 'buf-b64': v.string() }) }),
              reply,
            );
            // not toEqual: a difference of a megabyte is not worth printing
            expect(result['buf-b64'] === expected).toBe(true);
          }
          expect(await channel.request('guest-file-read', { handle, count: 1 })).toMatchObject({
            return: { count: 0, eof: true },
          });
          expect(await channel.request('guest-file-close', { handle })).toEqual({ return: {} });
        });
      });
    });
  });

  describe('libvirtd is back', () => {
    it('and finds the agent', async () => {
      expect(await guest().agent('guest-ping')).toEqual({});
    });
  });
}
