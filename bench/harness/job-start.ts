/**
 * How long the start of a job holds up the event loop, measured where it happens: the script engine in a process of its own. Of a
 * single start: the longest call into the addon's spawn (the one long block), and the time that the loop is not idle until
 * the job runs, all turns together. Of many at once: the longest delay of a 1 ms timer. No probe keeps a CPU busy that the jobs
 * need. Prints JSON, in ms, by kind of job.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { createFreezeGate } from '../../src/guest/freeze-gate.ts';
import type { Log } from '../../src/log.ts';
import { helperPath, native } from '../../src/native/index.ts';
import { createJobs } from '../../src/scripts/jobs.ts';

const count = Number(process.argv[2] ?? 200);
const AT_ONCE = 200;
/** The first starts run cold code. */
const WARM_UP = 10;

const silent: Log = {
  error: console.error,
  warning: () => undefined,
  info: () => undefined,
  debug: () => undefined,
};
const directory = mkdtempSync(join(tmpdir(), 'chr-agent-bench-'));
let spawnMs = 0;
const engine = createJobs({
  native: {
    ...native,
    spawn(options) {
      const startMs = performance.now();
      const spawned = native.spawn(options);
      spawnMs = Math.max(spawnMs, performance.now() - startMs);
      return spawned;
    },
  },
  helperPath,
  log: silent,
  gate: createFreezeGate(),
  interpreter: '/bin/sh',
  filesDir: join(directory, 'files'),
  runtimeDir: join(directory, 'run'),
  stateDir: join(directory, 'state'),
  spillDir: join(directory, 'spill'),
});

/** A start that is through; what it started ends later. */
interface Started {
  readonly ended: Promise<void>;
}

const script = async (): Promise<Started> => {
  const source = { kind: 'text', text: Buffer.from('true\n') } as const;
  const job = await engine.start({ origin: 'bench', source, timeLimitMs: 10_000, captureOutput: false });
  return { ended: job.finished.then(() => engine.forget(job)) };
};
const program = async (): Promise<Started> => {
  const request = { path: '/bin/true', args: [], env: undefined, input: undefined, capture: 'none' as const };
  const running = await engine.startProgram(request);
  return { ended: running.exited.then(() => running.release()) };
};
try {
  const result = {
    program: await oneByOne(program),
    script: await oneByOne(script),
    programsAtOnce: [await atOnce(program), await atOnce(program), await atOnce(program)],
    scriptsAtOnce: [await atOnce(script), await atOnce(script), await atOnce(script)],
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
} finally {
  await engine.close();
  rmSync(directory, { recursive: true });
}

/** The figures of single starts; what the job's end costs is not in them. */
async function oneByOne(start: () => Promise<Started>): Promise<{ block: number[]; busy: number[] }> {
  const result = { block: [] as number[], busy: [] as number[] };
  for (let done = 0; done < count + WARM_UP; done += 1) {
    // an own turn of the loop, so that nothing else is counted
    await delay(1);
    spawnMs = 0;
    const before = performance.eventLoopUtilization();
    const { ended } = await start();
    const { active } = performance.eventLoopUtilization(before);
    if (done >= WARM_UP) {
      result.block.push(spawnMs);
      result.busy.push(active);
    }
    await ended;
  }
  return result;
}

/** The longest delay while many start and end. */
async function atOnce(start: () => Promise<Started>): Promise<number> {
  const probe = monitorEventLoopDelay({ resolution: 1 });
  probe.enable();
  await delay(5);
  await Promise.all(Array.from({ length: AT_ONCE }, () => start().then(({ ended }) => ended)));
  await delay(5);
  probe.disable();
  return probe.max / 1e6;
}
