/** What starting jobs does to everything else: to a second client, to the channel itself, to the event loop. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Compat } from '../agents.ts';
import { type ControlProbe, startControlProbe } from '../control-probe.ts';
import { nodeOf } from '../machine.ts';
import { childrenOf } from '../procfs.ts';
import { execRequest, PING, scriptRequest } from '../requests.ts';
import { type Row, spreadOf } from '../row.ts';
import {
  alternate,
  type BenchCase,
  type BenchContext,
  type Contender,
  rowOf,
  withContenders,
} from '../sides.ts';

const JOBS = 200;

interface Burst {
  /** Silence on the channel. */
  readonly gap99Ms: number;
  readonly allMs: number;
  /** Of the control socket's answers; ours only. */
  readonly status99Ms: number;
  readonly statusCount: number;
}

export const jobs: BenchCase = {
  name: 'jobs',
  about: '200 jobs started at once beside other requests; event-loop block per start',
  explanation: [
    'A QGA channel is serial: what is behind a guest-exec waits for its reply. So "a concurrent ping" is measured twice while',
    '200 jobs start: as `status` on the control socket, which is served by the same event loop, asked every 2 ms; and',
    'as a ping behind each of 200 pipelined guest-exec: the longest silences between replies on the channel.',
  ],
  isGuarded: false,
  async run(context) {
    const programs = await bursts(context, 'upstream', execRequest('/bin/true'));
    const scripts = await bursts(context, 'chr', scriptRequest('true\n'));
    return [
      ...burstRows(programs, '/bin/true'),
      ...burstRows(scripts, 'scripts (chr profile)'),
      ...blockRows(context),
    ];
  },
};

async function bursts(context: BenchContext, compat: Compat, start: Buffer) {
  return withContenders(context, { compat, oursOnly: compat === 'chr' }, async (contenders) => {
    const request = Buffer.concat(Array.from({ length: JOBS }, () => [start, PING]).flat());
    return alternate(context.rounds, contenders, (contender) => burst(contender, request));
  });
}

async function burst({ agent, client }: Contender, request: Buffer): Promise<Burst> {
  const probe: ControlProbe | null =
    agent.controlPath === null ? null : await startControlProbe(agent.controlPath);
  try {
    if (probe !== null) await delay(20); // its connection settles
    probe?.take();
    const started = await client.exchange({ request, lines: 2 * JOBS });
    if (started.first.includes('"error"')) throw new Error(`a job did not start: ${started.first}`);
    const delaysMs = (probe?.take() ?? []).toSorted((a, b) => a - b);
    // the last jobs shall not end into the other side's turn
    while (childrenOf(agent.pid) > 0) await delay(2);
    return {
      gap99Ms: started.gap99Ms,
      allMs: started.seconds * 1000,
      status99Ms: delaysMs[Math.floor(delaysMs.length * 0.99)] ?? 0,
      statusCount: delaysMs.length,
    };
  } finally {
    probe?.stop();
  }
}

function burstRows(samples: Awaited<ReturnType<typeof bursts>>, what: string): Row[] {
  const answers = spreadOf(samples.ours.map(({ statusCount }) => statusCount)).median;
  return [
    rowOf({ ours: samples.ours, theirs: null }, ({ status99Ms }) => status99Ms, {
      name: `p99 of concurrent \`status\`, ${JOBS} ${what} at once`,
      unit: 'ms',
      better: 'lower',
      target: { kind: 'at-most', limit: 20, isTime: true },
      note: `${answers} answers on the control socket a round`,
    }),
    rowOf(samples, ({ gap99Ms }) => gap99Ms, {
      name: `p99 of silence on the channel, ${JOBS} ${what} + pings`,
      unit: 'ms',
      better: 'lower',
      target: { kind: 'at-most', limit: 20, isTime: true },
    }),
    rowOf(samples, ({ allMs }) => allMs, {
      name: `all replies to ${JOBS} ${what} + pings`,
      unit: 'ms',
      better: 'lower',
    }),
  ];
}

/** In ms; what bench/harness/job-start.ts prints. */
interface HarnessResult {
  program: SingleStarts;
  script: SingleStarts;
  programsAtOnce: number[];
  scriptsAtOnce: number[];
}

interface SingleStarts {
  /** The longest block of each. */
  block: number[];
  /** All turns of the loop together. */
  busy: number[];
}

function blockRows({ program, effort }: BenchContext): Row[] {
  const result = JSON.parse(
    execFileSync(
      nodeOf(program),
      [
        // as bin/chr-agent does
        '--v8-pool-size=0',
        '--max-semi-space-size=1',
        join(import.meta.dirname, '../harness/job-start.ts'),
        effort === 'full' ? '200' : '50',
      ],
      { encoding: 'utf8' },
    ),
  ) as HarnessResult;
  return [
    singleRow('program', result.program),
    singleRow('script', result.script),
    atOnceRow('programs', result.programsAtOnce),
    atOnceRow('scripts', result.scriptsAtOnce),
  ];
}

function singleRow(what: string, { block, busy }: SingleStarts): Row {
  const p99 = block.toSorted((a, b) => a - b)[Math.floor(block.length * 0.99)] ?? Number.NaN;
  return rowOf({ ours: block, theirs: null }, (blockMs) => blockMs, {
    name: `event loop blocked by the start of a ${what}`,
    unit: 'ms',
    better: 'lower',
    target: { kind: 'at-most', limit: 1, isTime: true },
    note: `p99 ${p99.toFixed(2)}; all turns of a start together: ${spreadOf(busy).median.toFixed(2)}`,
  });
}

function atOnceRow(what: string, delays: readonly number[]): Row {
  return rowOf({ ours: delays, theirs: null }, (delayMs) => delayMs, {
    name: `longest delay of the event loop, ${JOBS} ${what} at once`,
    unit: 'ms',
    better: 'lower',
  });
}
