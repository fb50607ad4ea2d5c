/**
 * The benchmark: our daemon beside Debian's qemu-ga in one run, in turns, on the same kind of socket. `make bench ARGS=…`.
 * bench/cases says what is measured, issue 4's targets are beside it.
 */
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { peerMissing } from './agents.ts';
import { CASES } from './cases/index.ts';
import { buildClient } from './client.ts';
import { guard } from './guard.ts';
import { describeMachine } from './machine.ts';
import { type CaseResult, formatMachine, formatRows, type Result, toJson, verdict } from './report.ts';
import type { BenchCase, BenchContext } from './sides.ts';

const USAGE = `usage: node bench/main.ts [--short] [--rounds N] [--only NAME]... [--json FILE] [--agent FILE] [--guard]

  --short        small volumes and 2 rounds instead of 5
  --rounds N     samples per side
  --only NAME    one of these, may be repeated:
${CASES.map(({ name, about }) => `                   ${name.padEnd(9)}${about}`).join('\n')}
  --json FILE    writes the result there; bench/chart.ts draws it
  --agent FILE   bin/chr-agent of another build
  --guard        the regression guard: a short run that fails if a target is missed by more than 2x in three tries
`;

/** Nothing that is started here may shut down, freeze or re-clock the machine (src/guest/actions). */
process.env.CHR_AGENT_NO_ACTIONS = '1';

const print = (text: string) => process.stdout.write(text);
process.exitCode = await main().catch((error: unknown) => {
  process.stderr.write(`bench: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return 1;
});

async function main(): Promise<number> {
  let options: ReturnType<typeof parseOptions>;
  try {
    options = parseOptions();
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
    return 2;
  }
  if (options.help) {
    print(USAGE);
    return 0;
  }
  buildClient();
  const missing = peerMissing();
  if (missing !== undefined) print(`${missing}: only the agent itself is measured\n\n`);
  // the agents' own files go there too (os.tmpdir): it is not the disk that is measured
  process.env.TMPDIR = memoryDirectory();
  const filesDir = mkdtempSync(join(process.env.TMPDIR, 'chr-agent-bench-'));
  const context: BenchContext = {
    program: options.program,
    hasPeer: missing === undefined,
    rounds: options.rounds,
    effort: options.isShort ? 'short' : 'full',
    targetsOnly: options.isGuard,
    filesDir,
  };
  try {
    return options.isGuard
      ? await runGuard(options.cases, context)
      : await runAll(options.cases, context, options.json);
  } finally {
    rmSync(filesDir, { recursive: true });
  }
}

async function runAll(
  cases: readonly BenchCase[],
  context: BenchContext,
  json: string | undefined,
): Promise<number> {
  const results: CaseResult[] = [];
  const result: Result = {
    machine: describeMachine(context.program, context.hasPeer),
    mode: context.effort,
    rounds: context.rounds,
    cases: results,
  };
  print(`${formatMachine(result)}\n`);
  for (const one of cases) {
    const rows = await one.run(context);
    results.push({ name: one.name, rows });
    const heading = [`${one.name}: ${one.about}`, ...(one.explanation ?? [])].join('\n  ');
    print(`${heading}\n${formatRows(rows)}\n`);
  }
  const missed = results.flatMap(({ rows }) => rows).filter((row) => verdict(row).startsWith('MISSED'));
  print(missed.length === 0 ? 'no target missed\n' : `${missed.length} targets missed:\n`);
  for (const row of missed) print(`  ${row.name}: ${verdict(row)}\n`);
  if (json !== undefined) writeFileSync(json, toJson(result));
  return 0;
}

async function runGuard(cases: readonly BenchCase[], context: BenchContext): Promise<number> {
  const failed = await guard(cases, context, print);
  if (failed.length === 0) {
    print('guard: ok\n');
    return 0;
  }
  print('guard: missed by more than a factor of 2 in three tries:\n');
  for (const row of failed) print(`  ${row.name}: ${verdict(row)}\n`);
  return 1;
}

function parseOptions() {
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', short: 'h' },
      short: { type: 'boolean' },
      rounds: { type: 'string' },
      only: { type: 'string', multiple: true },
      json: { type: 'string' },
      agent: { type: 'string' },
      guard: { type: 'boolean' },
    },
  });
  const isGuard = values.guard === true;
  const isShort = isGuard || values.short === true;
  const rounds = Number(values.rounds ?? (isShort ? 2 : 5));
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds is a positive number');
  const only = values.only ?? CASES.map(({ name }) => name);
  const unknown = only.find((name) => CASES.every((one) => one.name !== name));
  if (unknown !== undefined) throw new Error(`--only ${unknown}: there is no such case`);
  return {
    help: values.help === true,
    isGuard,
    isShort,
    rounds,
    cases: CASES.filter(({ name }) => only.includes(name)),
    json: values.json,
    program: resolve(values.agent ?? join(import.meta.dirname, '../bin/chr-agent')),
  };
}

/** A directory in memory with room for the transferred files, or else the usual one; both sides use the same. */
function memoryDirectory(): string {
  const TMPFS_MAGIC = 0x01021994;
  const NEEDED_BYTES = 512 * 2 ** 20;
  try {
    const { type, bavail, bsize } = statfsSync('/dev/shm');
    if (type === TMPFS_MAGIC && bavail * bsize > NEEDED_BYTES) return '/dev/shm';
  } catch {
    // no such mount
  }
  return tmpdir();
}
