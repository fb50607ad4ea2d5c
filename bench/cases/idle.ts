/** A connected agent that nobody asks anything: it should sleep. */
import { setTimeout as delay } from 'node:timers/promises';
import { cpuTicksOf, wakeupsOf } from '../procfs.ts';
import { PING } from '../requests.ts';
import { type BenchCase, rowOf, withContenders } from '../sides.ts';

/** Timers that follow activity (memory given back) are over after this. */
const SETTLE_MS = 4_000;

export const idle: BenchCase = {
  name: 'idle',
  about: 'wake-ups and CPU ticks of a connected, idle agent',
  isGuarded: true,
  run: (context) =>
    withContenders(context, { oursOnly: context.targetsOnly }, async (contenders) => {
      const watchMs = context.effort === 'full' ? 10_000 : 4_000;
      for (const { client } of contenders) await client.exchange({ request: PING, count: 1_000 });
      await delay(SETTLE_MS);
      // both at once: they do not disturb each other
      const watches = contenders.map(async ({ side, agent }) => {
        const [wakeups, ticks] = [wakeupsOf(agent.pid), cpuTicksOf(agent.pid)];
        await delay(watchMs);
        return { side, wakeups: wakeupsOf(agent.pid) - wakeups, ticks: cpuTicksOf(agent.pid) - ticks };
      });
      const watched = await Promise.all(watches);
      const theirs = watched.filter(({ side }) => side === 'theirs');
      const samples = {
        ours: watched.filter(({ side }) => side === 'ours'),
        theirs: theirs.length > 0 ? theirs : null,
      };
      const target = { kind: 'at-most', limit: 0, isTime: false } as const;
      const during = `idle and connected for ${watchMs / 1000} s`;
      return [
        rowOf(samples, ({ wakeups }) => wakeups, {
          name: `wake-ups, ${during}`,
          unit: '',
          better: 'lower',
          target,
        }),
        rowOf(samples, ({ ticks }) => ticks, {
          name: `CPU ticks (10 ms), ${during}`,
          unit: '',
          better: 'lower',
          target,
        }),
      ];
    }),
};
