/** From spawning the agent until it has answered its first ping, beside an empty Node.js program. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentCommand, type Side } from '../agents.ts';
import { timeRun, timeStart } from '../client.ts';
import { nodeOf } from '../machine.ts';
import { alternate, type BenchCase, type BenchContext, rowOf, sidesOf } from '../sides.ts';

export const startup: BenchCase = {
  name: 'startup',
  about: 'start-up to the first reply',
  isGuarded: true,
  async run(context) {
    const rounds = context.rounds * 2;
    const directory = mkdtempSync(join(tmpdir(), 'chr-agent-bench-'));
    const empty = join(directory, 'empty.js');
    writeFileSync(empty, '');
    try {
      const againstNode = await alternate(
        rounds,
        [{ side: 'ours' }, { side: 'theirs' }] as const,
        ({ side }) => (side === 'ours' ? startOf(side, context) : timeRun([nodeOf(context.program), empty])),
      );
      const name = 'start-up to the first reply';
      const row = rowOf(againstNode, (ms) => ms, {
        name,
        unit: 'ms',
        better: 'lower',
        target: { kind: 'of-peer', times: 1.3 },
      });
      const rows = [{ ...row, peer: row.peer && { ...row.peer, name: 'node empty.js' as const } }];
      if (context.targetsOnly || !context.hasPeer) return rows;
      const sides = sidesOf(context, false).map((side) => ({ side }));
      const againstPeer = await alternate(rounds, sides, ({ side }) => startOf(side, context));
      return [...rows, rowOf(againstPeer, (ms) => ms, { name, unit: 'ms', better: 'lower' })];
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
};

async function startOf(side: Side, { program }: BenchContext): Promise<number> {
  const { argv, socketPath, cleanUp } = agentCommand(side, program);
  try {
    return await timeStart(socketPath, argv);
  } finally {
    cleanUp();
  }
}
