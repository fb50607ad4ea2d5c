/** Memory: idle, at the peak of large transfers, and 5 s after them; what a message above qemu's token limit does. */
import { closeSync, fsyncSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Side } from '../agents.ts';
import type { Client } from '../client.ts';
import { nodeOf } from '../machine.ts';
import { memoryOf, peakResidentBytes, resetPeak } from '../procfs.ts';
import { delimitedSync, PING, writeRequest } from '../requests.ts';
import type { Row } from '../row.ts';
import {
  type BenchCase,
  type BenchContext,
  type Contender,
  rowOf,
  type Samples,
  sidesOf,
  withContenders,
} from '../sides.ts';
import { GIB, MIB, openTransfer } from '../transfer.ts';

interface Load {
  readonly name: string;
  readonly writeBytes: number;
  readonly readBytes: number;
  readonly fileBytes: number;
  /** MiB that our peak may lie above idle. */
  readonly growthLimitMib: number;
  /** Of the transfer in each direction in the short run. */
  readonly shortBytes: number;
}

const LOADS: readonly Load[] = [
  {
    name: '1 MiB chunks',
    writeBytes: MIB,
    readBytes: MIB,
    fileBytes: 128 * MIB,
    growthLimitMib: 20,
    shortBytes: 256 * MIB,
  },
  {
    name: '48 MiB reads + 32 MiB writes',
    writeBytes: 32 * MIB,
    readBytes: 48 * MIB,
    fileBytes: 96 * MIB,
    growthLimitMib: 150,
    shortBytes: 192 * MIB,
  },
];

/** qemu's limit of 64 MiB of token text is passed by this payload in base64. */
const TOO_LONG_BYTES = 48 * MIB;
const SYNC_ID = 733_144;

interface Figures {
  readonly idleResident: number;
  readonly idleDirty: number;
  readonly growth: number;
  readonly dirtyAfter: number;
  readonly refusalFailures: number;
}

export const memory: BenchCase = {
  name: 'memory',
  about: 'RSS and private dirty: idle, peak of 1 GiB transfers, 5 s after',
  isGuarded: true,
  async run(context) {
    const { effort } = context;
    settleRuntime(context);
    const rows: Row[] = [];
    for (const [index, load] of LOADS.entries()) {
      const samples = await sample(context, load);
      if (index === 0) rows.push(...idleRows(samples));
      const mib = (effort === 'full' ? GIB : load.shortBytes) / MIB;
      const note = `${mib} MiB each way${effort === 'full' && samples.theirs !== null ? ', qemu-ga a quarter of it and once' : ''}`;
      rows.push(...loadRows(samples, load, index === 1, note));
    }
    return rows;
  },
};

/** Pages of a runtime that was built a moment ago and is not on disk yet would count as the agent's dirty ones. */
function settleRuntime({ program }: BenchContext): void {
  const fd = openSync(nodeOf(program), 'r');
  fsyncSync(fd);
  closeSync(fd);
}

/** Fresh agents each time: memory that an earlier transfer left would hide the growth of this one. */
async function sample(context: BenchContext, load: Load): Promise<Samples<Figures>> {
  const measured: Record<Side, Figures[]> = { ours: [], theirs: [] };
  const rounds = context.effort === 'full' ? Math.min(context.rounds, 3) : 1;
  for (let round = 0; round < rounds; round += 1) {
    // the peer takes minutes, and is here for comparison only
    const oursOnly = round > 0 || context.targetsOnly;
    await withContenders(context, { oursOnly }, async (contenders) => {
      for (const contender of contenders)
        measured[contender.side].push(await measure(context, contender, load));
    });
  }
  return {
    ours: measured.ours,
    theirs: sidesOf(context, context.targetsOnly).includes('theirs') ? measured.theirs : null,
  };
}

async function measure(context: BenchContext, contender: Contender, load: Load): Promise<Figures> {
  const { agent, client, side } = contender;
  await client.exchange({ request: PING, count: 100 });
  await delay(3_000);
  const idle = memoryOf(agent.pid);
  resetPeak(agent.pid);
  const full = side === 'ours' ? GIB : GIB / 4;
  await transfer(context, client, load, context.effort === 'full' ? full : load.shortBytes);
  const refusalFailures = load.writeBytes > MIB ? await refusal(client) : 0;
  const peak = peakResidentBytes(agent.pid);
  await delay(5_000);
  const after = memoryOf(agent.pid);
  return {
    idleResident: idle.residentBytes,
    idleDirty: idle.privateDirtyBytes,
    growth: peak - idle.residentBytes,
    dirtyAfter: after.privateDirtyBytes - idle.privateDirtyBytes,
    refusalFailures,
  };
}

async function transfer(context: BenchContext, client: Client, load: Load, bytes: number): Promise<void> {
  for (const direction of ['write', 'read'] as const) {
    const { fileBytes, writeBytes, readBytes } = load;
    const chunkBytes = direction === 'write' ? writeBytes : readBytes;
    const moving = await openTransfer({
      client,
      direction,
      directory: context.filesDir,
      fileBytes,
      chunkBytes,
    });
    await moving.run(Math.ceil(bytes / fileBytes));
    await moving.close();
  }
}

/** @returns 0 if a message that is too long gets qemu's error and the session goes on, else 1 */
async function refusal(client: Client): Promise<number> {
  const tooLong = writeRequest(1000, TOO_LONG_BYTES);
  const { first } = await client.until(Buffer.concat([tooLong, delimitedSync(SYNC_ID)]), `${SYNC_ID}}`);
  return first.includes('JSON token size limit exceeded') ? 0 : 1;
}

function idleRows(samples: Samples<Figures>): Row[] {
  return [
    rowOf(samples, ({ idleResident }) => idleResident / 1e6, {
      name: 'resident, idle',
      unit: 'MB',
      better: 'lower',
    }),
    rowOf(samples, ({ idleDirty }) => idleDirty / 1e6, {
      name: 'private dirty, idle',
      unit: 'MB',
      better: 'lower',
      target: { kind: 'at-most', limit: 16, isTime: false },
    }),
  ];
}

function loadRows(samples: Samples<Figures>, load: Load, withRefusal: boolean, note: string): Row[] {
  const rows = [
    rowOf(samples, ({ growth }) => growth / MIB, {
      name: `peak above idle, ${load.name}`,
      unit: 'MiB',
      better: 'lower',
      target: { kind: 'at-most', limit: load.growthLimitMib, isTime: false },
      note,
    }),
    rowOf(samples, ({ dirtyAfter }) => dirtyAfter / 1e6, {
      name: `private dirty above idle, 5 s after ${load.name}`,
      unit: 'MB',
      better: 'lower',
      target: { kind: 'at-most', limit: 4, isTime: false },
    }),
  ];
  if (!withRefusal) return rows;
  return [
    ...rows,
    rowOf(samples, ({ refusalFailures }) => refusalFailures, {
      name: '48 MiB write: token limit error, session goes on',
      unit: 'failures',
      better: 'lower',
      target: { kind: 'at-most', limit: 0, isTime: false },
    }),
  ];
}
