/** Small requests: one at a time, a thousand in flight, and the pair that Proxmox sends before every command. */
import type { Client } from '../client.ts';
import { delimitedSync, PING } from '../requests.ts';
import {
  alternate,
  type BenchCase,
  type BenchContext,
  clientAlone,
  rowOf,
  withContenders,
} from '../sides.ts';

interface Shape {
  readonly name: string;
  readonly request: Buffer;
  readonly lines: number;
  readonly outstanding: number;
  /** Requests of one sample in the full run. */
  readonly count: number;
  /** What one request counts. */
  readonly worth: number;
  readonly unit: string;
}

const PIPELINED = 1000;

const SHAPES: readonly Shape[] = [
  {
    name: 'guest-ping, one at a time',
    request: PING,
    lines: 1,
    outstanding: 1,
    count: 10_000,
    worth: 1,
    unit: '/s',
  },
  {
    name: `guest-ping, pipelined (writes of ${PIPELINED}, two in flight)`,
    request: Buffer.concat(Array.from({ length: PIPELINED }, () => PING)),
    lines: PIPELINED,
    outstanding: 2,
    count: 100,
    worth: PIPELINED,
    unit: '/s',
  },
  {
    name: 'sync-delimited + ping in one write',
    // 0xFF has an error reply of its own; the empty line makes the trivial server send a third one too
    request: Buffer.concat([delimitedSync(4711), PING, Buffer.from('\n')]),
    lines: 3,
    outstanding: 1,
    count: 8_000,
    worth: 1,
    unit: 'pairs/s',
  },
];

/** `{"return": {}}` and its newline. */
const REPLY_BYTES = 15;

export const ping: BenchCase = {
  name: 'ping',
  about: 'guest-ping round trips, pipelined pings, sync + ping pairs',
  isGuarded: true,
  run: (context) =>
    withContenders(context, {}, async (contenders) => {
      const rows = [];
      for (const shape of SHAPES) {
        const measure = (client: Client) => rate(client, shape, context);
        const alone = context.targetsOnly ? null : await clientAlone(context.rounds, REPLY_BYTES, measure);
        const samples = await alternate(context.rounds, contenders, ({ client }) => measure(client));
        rows.push(
          rowOf(samples, (sample) => sample, {
            name: shape.name,
            unit: shape.unit,
            better: 'higher',
            clientAlone: alone,
            target: { kind: 'better', times: 1.2 },
          }),
        );
      }
      return rows;
    }),
};

async function rate(client: Client, shape: Shape, { effort }: BenchContext): Promise<number> {
  const count = effort === 'full' ? shape.count : shape.count / 4;
  const { seconds } = await client.exchange({ ...shape, count });
  return (count * shape.worth) / seconds;
}
