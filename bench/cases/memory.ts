/**
 * Memory: idle and after 10,000 commands, beside the two daemons that ours replaces; at the peak of large transfers, and 5 s
 * after them; what a message above qemu's token limit does.
 */
import { closeSync, fsyncSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { openVmToolsMissing, tracingMissing } from '../../test/support/vmx.ts';
import type { Side } from '../agents.ts';
import type { Client } from '../client.ts';
import { nodeOf } from '../machine.ts';
import { type Memory, memoryOf, peakResidentBytes, resetPeak } from '../procfs.ts';
import { delimitedSync, PING, request, writeRequest } from '../requests.ts';
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
import { QUIET, startToolsGuest } from './vmtools-guest.ts';

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
const DIRTY_LIMIT_MB = 16;
const NONE: Memory = { residentBytes: 0, privateDirtyBytes: 0 };

/** What hosts ask all day. */
const COMMANDS = [
  'guest-ping',
  'guest-info',
  'guest-get-time',
  'guest-network-get-interfaces',
  'guest-get-osinfo',
];
const COMMAND_COUNT = 10_000;
/** The start is over, and what it needed is given back. */
const SETTLE_MS = 4_000;

interface Figures {
  readonly growth: number;
  readonly dirtyAfter: number;
  readonly refusalFailures: number;
}

export const memory: BenchCase = {
  name: 'memory',
  about: 'RSS and private dirty: idle, after 10,000 commands, peak of 1 GiB transfers, 5 s after',
  isGuarded: true,
  async run(context) {
    const { effort } = context;
    settleRuntime(context);
    const rows = await commandRows(context);
    for (const [index, load] of LOADS.entries()) {
      const samples = await sample(context, load);
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
  await delay(SETTLE_MS);
  const idle = memoryOf(agent.pid);
  resetPeak(agent.pid);
  const full = side === 'ours' ? GIB : GIB / 4;
  await transfer(context, client, load, context.effort === 'full' ? full : load.shortBytes);
  const refusalFailures = load.writeBytes > MIB ? await refusal(client) : 0;
  const peak = peakResidentBytes(agent.pid);
  await delay(5_000);
  const after = memoryOf(agent.pid);
  return {
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

/** Of one agent: idle, after {@link COMMAND_COUNT} commands, and after as many again. */
type Stages = readonly [idle: Memory, after: Memory, again: Memory];

async function commandRows(context: BenchContext): Promise<Row[]> {
  const stages: Record<Side, Stages[]> = { ours: [], theirs: [] };
  await withContenders(context, { oursOnly: context.targetsOnly }, async (contenders) => {
    for (const contender of contenders) stages[contender.side].push(await watchCommands(contender));
  });
  const tools = stages.theirs.length > 0 ? await toolsMemory(context) : null;
  const peerName = tools === null ? 'qemu-ga' : 'qemu-ga + vmtoolsd';
  const row = (name: string, figure: (memory: Memory) => number, stage: 0 | 1, limit?: number): Row => {
    const samples = {
      ours: stages.ours.map((of) => figure(of[stage])),
      theirs:
        stages.theirs.length > 0
          ? stages.theirs.map((of) => figure(of[stage]) + figure(tools ?? NONE))
          : null,
    };
    const target = limit === undefined ? null : ({ kind: 'at-most', limit, isTime: false } as const);
    const built = rowOf(samples, (bytes) => bytes / 1e6, {
      name,
      unit: 'MB',
      better: 'lower',
      ...(target && { target }),
    });
    return { ...built, peer: built.peer && { ...built.peer, name: peerName } };
  };
  const resident = ({ residentBytes }: Memory) => residentBytes;
  const dirty = ({ privateDirtyBytes }: Memory) => privateDirtyBytes;
  const after = `after ${COMMAND_COUNT} commands`;
  const growth = {
    ours: stages.ours.map(([, first, second]) => dirty(second) - dirty(first)),
    theirs:
      stages.theirs.length > 0
        ? stages.theirs.map(([, first, second]) => dirty(second) - dirty(first))
        : null,
  };
  return [
    row('resident, idle', resident, 0),
    row('private dirty, idle', dirty, 0, DIRTY_LIMIT_MB),
    row(`resident, ${after}`, resident, 1),
    row(`private dirty, ${after}`, dirty, 1, DIRTY_LIMIT_MB),
    rowOf(growth, (bytes) => bytes / 1e6, {
      name: `private dirty, growth by ${COMMAND_COUNT} more`,
      unit: 'MB',
      better: 'lower',
      target: { kind: 'at-most', limit: 0.5, isTime: false },
    }),
  ];
}

async function watchCommands({ agent, client }: Contender): Promise<Stages> {
  const run = async () => {
    for (const command of COMMANDS)
      await client.exchange({ request: request(command), count: COMMAND_COUNT / COMMANDS.length });
    await delay(SETTLE_MS);
    return memoryOf(agent.pid);
  };
  await client.exchange({ request: PING, count: 100 });
  await delay(SETTLE_MS);
  return [memoryOf(agent.pid), await run(), await run()];
}

/** Of vmtoolsd in a simulated guest, which the host has commanded; null if it cannot be had here. */
async function toolsMemory({ program }: BenchContext): Promise<Memory | null> {
  if ((tracingMissing() ?? openVmToolsMissing()) !== undefined) return null;
  const guest = await startToolsGuest('theirs', program, QUIET);
  try {
    for (let count = 0; count < 100; count += 1) await guest.command('ping');
    return memoryOf(guest.pid);
  } finally {
    await guest.stop();
  }
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
