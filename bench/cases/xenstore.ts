/** Xen: how soon a script from the host starts, and what the daemon costs while the host asks nothing. Targets: issue 6. */
import { setTimeout as delay } from 'node:timers/promises';
import { REPORT_INTERVAL_MS } from '../../src/report-clock.ts';
import { startEmbeddedStore } from '../../test/support/embedded-store.ts';
import type { TestStore } from '../../test/support/test-store.ts';
import { startXenstored, type Xenstored, xenstoredMissing } from '../../test/support/xenstored.ts';
import { cpuTicksOf, wakeupsOf } from '../procfs.ts';
import { type Row, spreadOf } from '../row.ts';
import { type BenchCase, type BenchContext, rowOf } from '../sides.ts';
import {
  buildXenDomain,
  type ScriptStart,
  startXenGuest,
  timeEvents,
  type XenGuest,
} from './xenstore-guest.ts';

const SCRIPTS = 200;
/** What the start leaves behind (memory given back) is over after this. */
const SETTLE_MS = 5_000;
/** A report falls into each, with a margin for the timers. */
const SHORT_WATCH_MS = REPORT_INTERVAL_MS + 1_000;
const FULL_WATCH_MS = 10 * REPORT_INTERVAL_MS;
const CLOCK_TICK_MS = 10;

export const xenstore: BenchCase = {
  name: 'xenstore',
  about: "Xen: from a host's write to the script's start; CPU and writes of an idle guest",
  explanation: [
    'Alone on C xenstored and on the embedded store, without a peer. "Client alone": from the write to the event at a client that only waits for it.',
    "A script says that it runs by the shell's own echo into a pipe. An idle guest reports every 30 s; the free space of a disk is written if",
    'others write to that disk, and is not counted.',
  ],
  isGuarded: false,
  async run(context) {
    const reason = xenstoredMissing();
    if (reason !== undefined) process.stderr.write(`bench: ${reason}: only the embedded store is measured\n`);
    const real = reason === undefined ? await measureReal(context) : [];
    return [...real, ...(await measureEmbedded(context))];
  },
};

async function measureReal(context: BenchContext): Promise<Row[]> {
  const store = await startXenstored();
  return withGuest(store, context, async (guest, aloneMs) => {
    const idle = await watchIdle(context, store, guest.agent.pid);
    return [...(await scriptRows('C xenstored', guest, aloneMs)), ...idle];
  });
}

async function measureEmbedded(context: BenchContext): Promise<Row[]> {
  const store = await startEmbeddedStore();
  return withGuest(store, context, (guest, aloneMs) => scriptRows('embedded store', guest, aloneMs));
}

async function withGuest(
  store: TestStore,
  { program }: BenchContext,
  use: (guest: XenGuest, aloneMs: number) => Promise<Row[]>,
): Promise<Row[]> {
  try {
    await buildXenDomain(store);
    const aloneMs = spreadOf(await timeEvents(store, SCRIPTS)).median;
    const guest = await startXenGuest(store, program);
    try {
      await delay(SETTLE_MS);
      return await use(guest, aloneMs);
    } finally {
      await guest.stop();
    }
  } finally {
    await store.stop();
  }
}

async function scriptRows(storeName: string, guest: XenGuest, clientAlone: number): Promise<Row[]> {
  // what is loaded for the first script only; a host that brings one at boot waits for it too
  const first = await guest.timeScript();
  const samples: ScriptStart[] = [];
  for (let index = 0; index < SCRIPTS; index += 1) samples.push(await guest.timeScript());
  const row = (figure: 'takenMs' | 'startedMs', name: string, alone: number | null) => {
    const sorted = samples.map((sample) => sample[figure]).toSorted((a, b) => a - b);
    const p99 = sorted[Math.floor(SCRIPTS * 0.99)] ?? Number.NaN;
    const note = `${SCRIPTS} scripts, p99 ${p99.toFixed(1)}; the first one of a daemon: ${first[figure].toFixed(1)}`;
    return rowOf({ ours: samples, theirs: null }, (sample) => sample[figure], {
      name: `${name}, ${storeName}`,
      unit: 'ms',
      better: 'lower',
      clientAlone: alone,
      note,
    });
  };
  return [
    row('startedMs', 'write to script start', clientAlone),
    row('takenMs', 'of which until status `running`', null),
  ];
}

async function watchIdle({ effort }: BenchContext, store: Xenstored, pid: number): Promise<Row[]> {
  const watchMs = effort === 'full' ? FULL_WATCH_MS : SHORT_WATCH_MS;
  const seconds = watchMs / 1000;
  const traceStart = store.trace().length;
  const startMs = performance.now();
  const startTicks = cpuTicksOf(pid);
  /** Wake-ups in each second. */
  const wakeups: number[] = [];
  let before = wakeupsOf(pid);
  for (let second = 1; second <= seconds; second += 1) {
    await delay(startMs + second * 1000 - performance.now());
    const now = wakeupsOf(pid);
    wakeups.push(now - before);
    before = now;
  }
  const cpuMs = (cpuTicksOf(pid) - startTicks) * CLOCK_TICK_MS;
  const reports = reportsIn(store.trace().slice(traceStart));
  const during = `idle for ${seconds} s`;
  const single = (value: number, row: Omit<Parameters<typeof rowOf>[2], 'better'>) =>
    rowOf({ ours: [value], theirs: null }, (each: number) => each, { better: 'lower', ...row });
  return [
    single((cpuMs / watchMs) * 100, {
      name: `CPU, ${during}`,
      unit: '% of a core',
      target: { kind: 'at-most', limit: 0.2, isTime: true },
      note: `${cpuMs} ms by /proc/PID/stat; ${reports.length} reports in that time`,
    }),
    single(sum(wakeups), { name: `voluntary context switches, ${during}`, unit: '' }),
    single(wakeups.filter((count) => count > 0).length, {
      name: `seconds in which it woke up, ${during}`,
      unit: '',
      // a report may lie on the border of two
      target: { kind: 'at-most', limit: 2 * Math.ceil(watchMs / REPORT_INTERVAL_MS), isTime: false },
    }),
    ...writeRows(reports),
  ];
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** What each report wrote or removed, as xenstored saw it: `data/updated` is the last of it. */
function reportsIn(trace: string): string[][] {
  const reports: string[][] = [];
  let current: string[] = [];
  for (const line of trace.split('\n')) {
    const path = /\bIN\b.*\b(?:WRITE|RM) \((\S+?)\)?(?:\s|$)/.exec(line)?.[1];
    if (path === undefined) continue;
    current.push(path);
    if (path !== 'data/updated') continue;
    reports.push(current);
    current = [];
  }
  return reports;
}

function writeRows(reports: readonly (readonly string[])[]): Row[] {
  if (reports.length === 0) return [];
  const isCounted = (path: string) => !/^data\/volumes\/\d+\/free$/.test(path);
  const uncounted = sum(reports.map((paths) => paths.filter((path) => !isCounted(path)).length));
  const keys = [...new Set(reports.flat().filter(isCounted))].sort();
  const row = {
    name: 'writes per report',
    unit: '',
    better: 'lower',
    target: { kind: 'at-most', limit: 2, isTime: false },
    note: `${keys.join(', ')}; and ${uncounted} of free space in ${reports.length} reports`,
  } as const;
  return [rowOf({ ours: reports, theirs: null }, (paths) => paths.filter(isCounted).length, row)];
}
