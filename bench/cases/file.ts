/** Throughput of guest-file-write and guest-file-read in megabytes of payload, on a file in memory. */

import { readRequest, writeRequest } from '../requests.ts';
import type { Row } from '../row.ts';
import {
  alternate,
  type BenchCase,
  type BenchContext,
  type Contender,
  clientAlone,
  rowOf,
  withContenders,
} from '../sides.ts';
import { type Direction, KIB, MIB, openTransfer, type Transfer } from '../transfer.ts';

const CHUNKS = [
  { text: '64 KiB', bytes: 64 * KIB },
  { text: '1 MiB', bytes: MIB },
  { text: '16 MiB', bytes: 16 * MIB },
] as const;
type Chunk = (typeof CHUNKS)[number];

const DIRECTIONS = [
  { direction: 'write', times: 8 },
  { direction: 'read', times: 4 },
] as const;

const FILE_BYTES = 64 * MIB;
const SHORT_FILE_BYTES = 32 * MIB;
/** Our side is so much faster that one pass would be over before it can be measured. */
const PASSES = { ours: 4, theirs: 1 } as const;

export const file: BenchCase = {
  name: 'file',
  about: 'guest-file-write and guest-file-read with 64 KiB, 1 MiB and 16 MiB chunks',
  isGuarded: true,
  run: (context) =>
    withContenders(context, {}, async (contenders) => {
      const rows: Row[] = [];
      for (const { direction, times } of DIRECTIONS)
        for (const chunk of CHUNKS) rows.push(await measure(context, contenders, direction, chunk, times));
      return rows;
    }),
};

async function measure(
  context: BenchContext,
  contenders: readonly Contender[],
  direction: Direction,
  chunk: Chunk,
  times: number,
): Promise<Row> {
  const fileBytes = context.effort === 'full' ? FILE_BYTES : SHORT_FILE_BYTES;
  const openings = contenders.map(async ({ side, client }) => {
    const transfer = await openTransfer({
      client,
      direction,
      directory: context.filesDir,
      fileBytes,
      chunkBytes: chunk.bytes,
    });
    return { side, transfer };
  });
  const transfers: { side: 'ours' | 'theirs'; transfer: Transfer }[] = await Promise.all(openings);
  const samples = await alternate(context.rounds, transfers, async ({ side, transfer }) => {
    const passes = PASSES[side];
    return megabytesPerSecond(fileBytes * passes, await transfer.run(passes));
  });
  for (const { transfer } of transfers) await transfer.close();
  return rowOf(samples, (sample) => sample, {
    name: `guest-file-${direction}, ${chunk.text} chunks`,
    unit: 'MB/s',
    better: 'higher',
    clientAlone: context.targetsOnly ? null : await alone(context.rounds, direction, chunk.bytes, fileBytes),
    target: { kind: 'better', times },
  });
}

function alone(rounds: number, direction: Direction, chunkBytes: number, fileBytes: number): Promise<number> {
  const one = direction === 'read' ? readRequest(1000, chunkBytes) : writeRequest(1000, chunkBytes);
  const replyBytes = direction === 'read' ? Math.ceil((chunkBytes * 4) / 3) : 40;
  return clientAlone(rounds, replyBytes, async (client) => {
    const { seconds } = await client.exchange({ request: one, count: fileBytes / chunkBytes });
    return megabytesPerSecond(fileBytes, seconds);
  });
}

function megabytesPerSecond(bytes: number, seconds: number): number {
  return bytes / 1e6 / seconds;
}
