/** How a case meets the agents: both started, a client at each, samples taken in turns. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Agent, type Compat, type Side, startAgent } from './agents.ts';
import { type Client, startClient, startServer } from './client.ts';
import { type Row, type Spread, spreadOf } from './row.ts';

export interface BenchContext {
  /** Our bin/chr-agent. */
  readonly program: string;
  readonly hasPeer: boolean;
  readonly rounds: number;
  /** `short`: small volumes. */
  readonly effort: 'full' | 'short';
  /** Only what a target needs is measured. */
  readonly targetsOnly: boolean;
  /** A directory in memory, or else on disk, for the files that both sides read and write. */
  readonly filesDir: string;
}

export interface BenchCase {
  readonly name: string;
  readonly about: string;
  /** Lines that say how to read the figures. */
  readonly explanation?: readonly string[];
  /** Whether it has targets that the regression guard looks at. */
  readonly isGuarded: boolean;
  run(context: BenchContext): Promise<Row[]>;
}

export interface Contender {
  readonly side: Side;
  readonly agent: Agent;
  readonly client: Client;
}

/** Samples of the sides; `theirs` is null without the peer. */
export interface Samples<T> {
  readonly ours: readonly T[];
  readonly theirs: readonly T[] | null;
}

export interface ContendersOptions {
  compat?: Compat;
  /** No peer for this one. */
  oursOnly?: boolean;
}

/** Starts the agents with a client each, and ends them after `use`. */
export async function withContenders<T>(
  context: BenchContext,
  { compat, oursOnly = false }: ContendersOptions,
  use: (contenders: readonly Contender[]) => Promise<T>,
): Promise<T> {
  const contenders: Contender[] = [];
  try {
    for (const side of sidesOf(context, oursOnly)) {
      const agent = await startAgent(side, context.program, compat);
      contenders.push({ side, agent, client: startClient(agent.socketPath) });
    }
    return await use(contenders);
  } finally {
    for (const { agent, client } of contenders) {
      await client.close();
      await agent.stop();
    }
  }
}

export function sidesOf({ hasPeer }: BenchContext, oursOnly: boolean): readonly Side[] {
  return hasPeer && !oursOnly ? ['ours', 'theirs'] : ['ours'];
}

/** One sample of each side per round; who begins changes with the round. A first round warms up and is not counted. */
export async function alternate<S extends { readonly side: Side }, T>(
  rounds: number,
  sides: readonly S[],
  measure: (side: S) => Promise<T>,
): Promise<Samples<T>> {
  const samples: Record<Side, T[]> = { ours: [], theirs: [] };
  for (let round = 0; round <= rounds; round += 1) {
    for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
      const sample = await measure(side);
      if (round > 0) samples[side.side].push(sample);
    }
  }
  return { ours: samples.ours, theirs: samples.theirs.length > 0 ? samples.theirs : null };
}

/** What the client reaches against a server that does nothing but answer each line with `replyBytes`. */
export async function clientAlone(
  rounds: number,
  replyBytes: number,
  measure: (client: Client) => Promise<number>,
): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'chr-agent-bench-'));
  const socketPath = join(directory, 'server.sock');
  const server = startServer(socketPath, replyBytes);
  const client = startClient(socketPath);
  try {
    const samples: number[] = [];
    for (let round = 0; round < Math.min(rounds, 3); round += 1) samples.push(await measure(client));
    return spreadOf(samples).median;
  } finally {
    await client.close();
    server.kill('SIGKILL');
    rmSync(directory, { recursive: true });
  }
}

/** A row of one figure of the samples. */
export function rowOf<T>(
  samples: Samples<T>,
  figure: (sample: T) => number,
  row: Pick<Row, 'name' | 'unit' | 'better'> & Partial<Pick<Row, 'clientAlone' | 'target' | 'note'>>,
): Row {
  const spread = (values: readonly T[]): Spread => spreadOf(values.map(figure));
  return {
    clientAlone: null,
    target: null,
    note: '',
    ...row,
    ours: spread(samples.ours),
    peer: samples.theirs === null ? null : { name: 'qemu-ga', spread: spread(samples.theirs) },
  };
}
