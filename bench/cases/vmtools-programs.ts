/** VMware: what guest operations cost, beside open-vm-tools' vmtoolsd at the same simulated host (issue 9). */
import { setTimeout as delay } from 'node:timers/promises';
import { listProcesses, startProgram } from '../../test/hosts/vmx/vix.ts';
import { PASSWORD } from '../../test/support/guest-accounts.ts';
import { openVmToolsMissing, tracingMissing } from '../../test/support/vmx.ts';
import type { Side } from '../agents.ts';
import type { Row } from '../row.ts';
import { alternate, type BenchCase, rowOf } from '../sides.ts';
import { QUIET, startToolsGuest, type ToolsGuest } from './vmtools-guest.ts';

const PROGRAMS = 100;
const LOGIN = { user: 'root', password: PASSWORD };
const LOOK_AGAIN_MS = 10;
const LIMIT_MS = 120_000;

interface Burst {
  /** From the first request to the last program's end, as the host sees it. */
  readonly allMs: number;
  /** One program on its own. */
  readonly oneMs: number;
}

export const vmtoolsPrograms: BenchCase = {
  name: 'programs',
  about: `VMware: StartProgramInGuest until ListProcessesInGuest shows the end, one and ${PROGRAMS} at once; beside vmtoolsd`,
  explanation: [
    'Both run /bin/true as root, who logs in with a password at each request. The host has one request on its way at a time: that is its protocol.',
  ],
  isGuarded: false,
  async run({ targetsOnly, effort, rounds, program }) {
    const reason = tracingMissing() ?? openVmToolsMissing();
    if (targetsOnly || reason !== undefined) {
      if (reason !== undefined) process.stderr.write(`bench: ${reason}: programs is not measured\n`);
      return [];
    }
    const guests: ToolsGuest[] = [];
    try {
      for (const side of ['ours', 'theirs'] satisfies Side[])
        guests.push(await startToolsGuest(side, program, QUIET, { accounts: true }));
      const samples = await alternate(effort === 'full' ? rounds : Math.min(rounds, 2), guests, measure);
      const row = (name: string, figure: (burst: Burst) => number): Row => {
        const built = rowOf(samples, figure, { name, unit: 'ms', better: 'lower' });
        return { ...built, peer: built.peer && { ...built.peer, name: 'vmtoolsd' } };
      };
      return [
        row('one program, start to end', ({ oneMs }) => oneMs),
        row(`${PROGRAMS} programs at once, start to the last end`, ({ allMs }) => allMs),
      ];
    } finally {
      for (const guest of guests) await guest.stop();
    }
  },
};

async function measure(guest: ToolsGuest): Promise<Burst> {
  return { oneMs: await run(guest, 1), allMs: await run(guest, PROGRAMS) };
}

/** Milliseconds. @throws {Error} if one fails or does not end */
async function run({ vmx, side }: ToolsGuest, count: number): Promise<number> {
  const startMs = performance.now();
  const started = Array.from({ length: count }, () =>
    startProgram(vmx, { ...LOGIN, programPath: '/bin/true', arguments: '' }),
  );
  const pids = await Promise.all(started);
  const left = new Set(pids);
  while (left.size > 0) {
    for (const { pid, endSeconds, exitCode } of await listProcesses(vmx, { ...LOGIN, pids: [...left] })) {
      if (endSeconds === null) continue;
      if (exitCode !== 0) throw new Error(`${side}: exit status ${exitCode}`);
      left.delete(pid);
    }
    if (performance.now() - startMs > LIMIT_MS) throw new Error(`${side}: ${left.size} programs have no end`);
    if (left.size > 0) await delay(LOOK_AGAIN_MS);
  }
  return performance.now() - startMs;
}
