/** Programs and scripts: from guest-exec to the status reply that says `exited`. */

import type { Execution } from '../client.ts';
import { execRequest, scriptRequest } from '../requests.ts';
import { spreadOf } from '../row.ts';
import {
  alternate,
  type BenchCase,
  type BenchContext,
  type Contender,
  rowOf,
  type Samples,
  withContenders,
} from '../sides.ts';

const CAPTURED_BYTES = 16_000_000;
const TRUE = execRequest('/bin/true');

export const exec: BenchCase = {
  name: 'exec',
  about: 'guest-exec of /bin/true and of a script, from start to exited',
  isGuarded: true,
  async run(context) {
    const rows = await withContenders(context, {}, async (contenders) => {
      const busy = await executions(context, contenders, () => TRUE, 0);
      const paused = await executions(context, contenders, () => TRUE, 1);
      return [
        rowOf(busy, milliseconds, {
          name: 'guest-exec /bin/true to exited, polled without a pause',
          unit: 'ms',
          better: 'lower',
          target: { kind: 'better', times: 2 },
          note: pollsOf(busy),
        }),
        rowOf(paused, milliseconds, {
          name: 'guest-exec /bin/true to exited, polled every 1 ms',
          unit: 'ms',
          better: 'lower',
          target: { kind: 'better', times: 2 },
          note: pollsOf(paused),
        }),
        rowOf(busy, ({ startMs }) => startMs, {
          name: 'guest-exec /bin/true, request to its reply',
          unit: 'ms',
          better: 'lower',
        }),
      ];
    });
    if (context.targetsOnly) return rows;
    // what a script costs: our script profile has a supervisor for each, qemu-ga runs a shell
    const script = scriptRequest('true\n');
    const shell = execRequest('/bin/sh', ['-c', 'true']);
    const scripts = await withContenders(context, { compat: 'chr' }, (contenders) =>
      executions(context, contenders, ({ side }) => (side === 'ours' ? script : shell), 1),
    );
    rows.push(
      rowOf(scripts, milliseconds, {
        name: 'a script (chr profile; qemu-ga: sh -c), polled every 1 ms',
        unit: 'ms',
        better: 'lower',
        note: pollsOf(scripts),
      }),
    );
    return rows;
  },
};

export const capture: BenchCase = {
  name: 'capture',
  about: 'guest-exec with 16 MB of captured output, from start to the complete reply',
  isGuarded: false,
  run: (context) =>
    withContenders(context, {}, async (contenders) => {
      const request = execRequest('/usr/bin/head', ['-c', String(CAPTURED_BYTES), '/dev/zero'], true);
      const samples = await alternate(context.rounds, contenders, async ({ client }) => {
        const execution = await client.exec(request, 1);
        if (execution.receivedBytes < (CAPTURED_BYTES * 4) / 3) throw new Error('the output is not complete');
        return execution;
      });
      return [
        rowOf(samples, ({ ms }) => ms, {
          name: 'capture of 16 MB, start to reply complete',
          unit: 'ms',
          better: 'lower',
        }),
      ];
    }),
};

/** Each sample is the median of a batch. */
function executions(
  context: BenchContext,
  contenders: readonly Contender[],
  request: (contender: Contender) => Buffer,
  pauseMs: number,
): Promise<Samples<Execution>> {
  const count = context.effort === 'full' ? 50 : 20;
  return alternate(context.rounds, contenders, async (contender): Promise<Execution> => {
    const batch: Execution[] = [];
    for (let done = 0; done < count; done += 1)
      batch.push(await contender.client.exec(request(contender), pauseMs));
    const medianOf = (figure: (execution: Execution) => number) => spreadOf(batch.map(figure)).median;
    return {
      ms: medianOf(({ ms }) => ms),
      startMs: medianOf(({ startMs }) => startMs),
      polls: medianOf(({ polls }) => polls),
      receivedBytes: medianOf(({ receivedBytes }) => receivedBytes),
    };
  });
}

const milliseconds = ({ ms }: Execution) => ms;

function pollsOf({ ours, theirs }: Samples<Execution>): string {
  const polls = (samples: readonly Execution[]) => spreadOf(samples.map((sample) => sample.polls)).median;
  const peer = theirs === null ? '' : `, qemu-ga ${polls(theirs)}`;
  return `polls: ours ${polls(ours)}${peer}`;
}
