/** VMware: the daemon beside open-vm-tools' vmtoolsd at the same simulated host, by the same tracer (issue 8). */
import { setTimeout as delay } from 'node:timers/promises';
import { openVmToolsMissing, tracingMissing } from '../../test/support/vmx.ts';
import type { Side } from '../agents.ts';
import { cpuTicksOf, memoryOf } from '../procfs.ts';
import type { Row } from '../row.ts';
import { alternate, type BenchCase, type BenchContext, rowOf, type Samples } from '../sides.ts';
import { MIB } from '../transfer.ts';
import { QUIET, startToolsGuest, type ToolsGuest } from './vmtools-guest.ts';

/** The first report, and what the start leaves behind (memory given back), are over. */
const SETTLE_MS = 5_000;
const FIRST_WATCH_MS = 10_000;
/** Since the last command: the daemon polls less often then. */
const QUIET_MS = 65_000;
const CLOCK_TICK_MS = 10;

export const vmtools: BenchCase = {
  name: 'vmtools',
  about:
    'VMware: commands and RPCs per second, cost of an idle guest, memory, start-up to running tools; beside vmtoolsd',
  explanation: [
    'Each call of the backdoor is a stop under the tracer, which costs far more than a real one: rates and CPU tell how many calls a program',
    'makes, and what it does between them. An idle guest reports its changes every 30 s (vmtoolsd: and its statistics every 20 s, as ours in `upstream`).',
  ],
  isGuarded: false,
  async run(context) {
    const reason = tracingMissing();
    if (context.targetsOnly || reason !== undefined) {
      if (reason !== undefined) process.stderr.write(`bench: ${reason}: vmtools is not measured\n`);
      return [];
    }
    const missing = openVmToolsMissing();
    if (missing !== undefined) process.stderr.write(`bench: ${missing}: only the agent itself is measured\n`);
    const sides: readonly Side[] = missing === undefined ? ['ours', 'theirs'] : ['ours'];
    const rows = [
      ...(await rateRows(context, sides)),
      ...(await idleRows(context, sides)),
      ...(await startRows(context, sides)),
    ];
    return rows.map((row) => ({ ...row, peer: row.peer && { ...row.peer, name: 'vmtoolsd' as const } }));
  },
};

async function withGuests<T>(
  { program }: BenchContext,
  sides: readonly Side[],
  configuration: string,
  use: (guests: readonly ToolsGuest[]) => Promise<T>,
): Promise<T> {
  const guests: ToolsGuest[] = [];
  try {
    for (const side of sides) guests.push(await startToolsGuest(side, program, configuration));
    return await use(guests);
  } finally {
    for (const guest of guests) await guest.stop();
  }
}

interface Rates {
  /** Per second. */
  readonly commands: number;
  readonly rpcs: number;
  readonly callsPerCommand: number;
  readonly callsPerRegistration: number;
}

function rateRows(context: BenchContext, sides: readonly Side[]): Promise<Row[]> {
  const count = context.effort === 'full' ? 1_000 : 200;
  return withGuests(context, sides, QUIET, async (guests) => {
    const samples = await alternate(context.rounds, guests, (guest) => measureRates(guest, count));
    const calls = (figure: (rates: Rates) => number) =>
      [samples.ours[0], samples.theirs?.[0]].flatMap((rates) => (rates ? [figure(rates).toFixed(1)] : []));
    return [
      rowOf(samples, ({ commands }) => commands, {
        name: 'commands of the host: ping',
        unit: '1/s',
        better: 'higher',
        note: `calls of the backdoor for one: ${calls(({ callsPerCommand }) => callsPerCommand).join(' and ')}`,
      }),
      rowOf(samples, ({ rpcs }) => rpcs, {
        name: 'RPCs, those of Capabilities_Register',
        unit: '1/s',
        better: 'higher',
        note: `calls of the backdoor for one registration: ${calls(({ callsPerRegistration }) => callsPerRegistration).join(' and ')}`,
      }),
    ];
  });
}

async function measureRates(guest: ToolsGuest, count: number): Promise<Rates> {
  const pings = await measure(guest, 'ping', count);
  const registrations = await measure(guest, 'Capabilities_Register', Math.ceil(count / 5));
  return {
    commands: pings.commands / pings.seconds,
    rpcs: registrations.rpcs / registrations.seconds,
    callsPerCommand: pings.calls / pings.commands,
    callsPerRegistration: registrations.calls / registrations.commands,
  };
}

async function measure(guest: ToolsGuest, text: string, commands: number) {
  // the poll that finds the next one may be some way off
  await guest.command('ping');
  const [calls, rpcs, startMs] = [guest.calls(), guest.rpcs(), performance.now()];
  for (let index = 0; index < commands; index += 1) await guest.command(text);
  const seconds = (performance.now() - startMs) / 1000;
  return { commands, seconds, calls: guest.calls() - calls, rpcs: guest.rpcs() - rpcs };
}

interface Idle {
  readonly callsPerSecond: number;
  /** Of a core. */
  readonly cpuPercent: number;
}

/** All at once: they do not disturb each other. */
async function watch(guests: readonly ToolsGuest[], watchMs: number): Promise<Samples<Idle>> {
  const watched = await Promise.all(
    guests.map(async ({ side, pid, calls }) => {
      const [callsBefore, ticksBefore, startMs] = [calls(), cpuTicksOf(pid), performance.now()];
      await delay(watchMs);
      const cpuMs = (cpuTicksOf(pid) - ticksBefore) * CLOCK_TICK_MS;
      const elapsedMs = performance.now() - startMs;
      const callsPerSecond = ((calls() - callsBefore) / elapsedMs) * 1000;
      return { side, callsPerSecond, cpuPercent: (cpuMs / elapsedMs) * 100 };
    }),
  );
  return bySide(watched);
}

function bySide<T extends { readonly side: Side }>(values: readonly T[]): Samples<T> {
  const theirs = values.filter(({ side }) => side === 'theirs');
  return { ours: values.filter(({ side }) => side === 'ours'), theirs: theirs.length > 0 ? theirs : null };
}

function idleRows(context: BenchContext, sides: readonly Side[]): Promise<Row[]> {
  const lateWatchMs = context.effort === 'full' ? 120_000 : 30_000;
  return withGuests(context, sides, '', async (guests) => {
    await delay(SETTLE_MS);
    const first = await watch(guests, FIRST_WATCH_MS);
    await delay(QUIET_MS - SETTLE_MS - FIRST_WATCH_MS);
    const late = await watch(guests, lateWatchMs);
    const memory = bySide(guests.map(({ side, pid }) => ({ side, ...memoryOf(pid) })));
    const lower = { better: 'lower' } as const;
    const idle = (samples: Samples<Idle>, when: string) => [
      rowOf(samples, ({ callsPerSecond }) => callsPerSecond, {
        name: `idle, ${when}: calls of the backdoor`,
        unit: '1/s',
        ...lower,
      }),
      rowOf(samples, ({ cpuPercent }) => cpuPercent, {
        name: `idle, ${when}: CPU`,
        unit: '% of a core',
        ...lower,
      }),
    ];
    return [
      ...idle(first, `${FIRST_WATCH_MS / 1000} s of the first minute`),
      ...idle(late, `${lateWatchMs / 1000} s later than a minute`),
      rowOf(memory, ({ residentBytes }) => residentBytes / MIB, {
        name: 'idle: RSS',
        unit: 'MiB',
        ...lower,
      }),
      rowOf(memory, ({ privateDirtyBytes }) => privateDirtyBytes / MIB, {
        name: 'idle: private dirty',
        unit: 'MiB',
        ...lower,
      }),
    ];
  });
}

async function startRows(context: BenchContext, sides: readonly Side[]): Promise<Row[]> {
  const samples = await alternate(
    context.rounds,
    sides.map((side) => ({ side })),
    async ({ side }) => {
      const guest = await startToolsGuest(side, context.program, QUIET);
      await guest.stop();
      return guest.startMs;
    },
  );
  const row = { name: 'start-up to running tools', unit: 'ms', better: 'lower' } as const;
  return [rowOf(samples, (ms) => ms, row)];
}
