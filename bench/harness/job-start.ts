/**
 * How long the start of a job holds up the event loop, measured where it happens: the script engine in a process of its own, and
 * a setImmediate chain whose longest gap during a start is the block. Prints JSON: the gaps in ms, by kind of job.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
const engine = createJobs({
  native,
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
/** What the machine does to the probe by itself in the time that a start takes. */
const nothing = async (): Promise<Started> => {
  const endMs = performance.now() + 1;
  while (performance.now() < endMs) await new Promise((resolve) => setImmediate(resolve));
  return { ended: Promise.resolve() };
};

try {
  const result = {
    nothing: await oneByOne(nothing),
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

/** The longest gap of each single start; not what comes when the job ends. */
async function oneByOne(start: () => Promise<Started>): Promise<number[]> {
  const gaps: number[] = [];
  for (let done = 0; done < count + WARM_UP; done += 1) {
    const probe = watchLoop();
    const { ended } = await start();
    const gapMs = probe.stop();
    if (done >= WARM_UP) gaps.push(gapMs);
    await ended;
  }
  return gaps;
}

/** The longest gap while many start and end. */
async function atOnce(start: () => Promise<Started>): Promise<number> {
  const probe = watchLoop();
  await Promise.all(Array.from({ length: AT_ONCE }, () => start().then(({ ended }) => ended)));
  return probe.stop();
}

function watchLoop(): { stop(): number } {
  let longestMs = 0;
  let last = performance.now();
  let immediate: NodeJS.Immediate;
  const note = () => {
    const now = performance.now();
    longestMs = Math.max(longestMs, now - last);
    last = now;
  };
  const tick = () => {
    note();
    immediate = setImmediate(tick);
  };
  immediate = setImmediate(tick);
  return {
    stop() {
      clearImmediate(immediate);
      note();
      return longestMs;
    },
  };
}
