/**
 * The benchmark's client from the outside: bench/native is a small C program, so that the client is never the limit. It is
 * compiled when it is first needed, holds one connection, and gets its prebuilt requests over a pipe before the clock starts.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';

const root = join(import.meta.dirname, '..');
const program = join(root, 'build/bench-client');

/** Compiles the client if its sources are newer. @throws if there is no gcc */
export function buildClient(): void {
  const sources = globSync(join(import.meta.dirname, 'native/*.[ch]'));
  const builtMs = existsSync(program) ? statSync(program).mtimeMs : 0;
  if (sources.every((source) => statSync(source).mtimeMs < builtMs)) return;
  mkdirSync(dirname(program), { recursive: true });
  const units = sources.filter((source) => source.endsWith('.c'));
  execFileSync('gcc', ['-std=gnu11', '-O2', '-Wall', '-Wextra', ...units, '-o', program], {
    stdio: 'inherit',
  });
}

export interface Exchange {
  /** From the first byte sent to the last newline received. */
  readonly seconds: number;
  readonly receivedBytes: number;
  readonly lines: number;
  /** Of the replies to single requests, in ms. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Silences between lines, in ms. */
  readonly gap99Ms: number;
  readonly gapMaxMs: number;
  /** The beginning of what was received. */
  readonly first: string;
}

export interface Execution {
  /** From the request to the reply that says `exited`, complete. */
  readonly ms: number;
  /** Until guest-exec was answered. */
  readonly startMs: number;
  readonly polls: number;
  readonly receivedBytes: number;
}

export interface ExchangeOptions {
  request: Buffer;
  /** How often it is sent. */
  count?: number;
  /** How many may be unanswered at a time. */
  outstanding?: number;
  /** Lines that answer one request. */
  lines?: number;
}

export interface Client {
  exchange(options: ExchangeOptions): Promise<Exchange>;
  /** Sends once and receives until a line ends in `marker`, which holds no space. */
  until(request: Buffer, marker: string): Promise<Exchange>;
  /** Sends a guest-exec and polls its status, with a pause between polls or without. */
  exec(request: Buffer, pauseMs: number): Promise<Execution>;
  close(): Promise<void>;
}

export class ClientError extends Error {
  override name = 'ClientError';
}

/** Connects to an agent that listens at `socketPath`, or will within 20 s. */
export function startClient(socketPath: string): Client {
  const child = spawn(program, ['talk', socketPath], { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (text) => {
    complaint += String(text);
  });
  // an early end shows as the missing result
  child.stdin.on('error', () => undefined);
  const ended = once(child, 'close');
  const results = createInterface({ input: child.stdout })[Symbol.asyncIterator]();

  async function order(line: string, request: Buffer): Promise<Record<string, unknown>> {
    child.stdin.write(`${line} ${request.length}\n`);
    child.stdin.write(request);
    const result = await results.next();
    if (result.done !== true) return JSON.parse(result.value) as Record<string, unknown>;
    await ended;
    throw new ClientError(complaint.trim() || 'the client ended');
  }

  return {
    async exchange({ request, count = 1, outstanding = 1, lines = 1 }) {
      return exchangeOf(await order(`exchange ${count} ${outstanding} ${lines}`, request));
    },
    async until(request, marker) {
      return exchangeOf(await order(`until ${marker}`, request));
    },
    async exec(request, pauseMs) {
      const result = await order(`exec ${Math.round(pauseMs * 1000)}`, request);
      return {
        ms: number(result.ns) / 1e6,
        startMs: number(result.startNs) / 1e6,
        polls: number(result.polls),
        receivedBytes: number(result.receivedBytes),
      };
    },
    async close() {
      child.stdin.end();
      await ended;
    },
  };
}

/** @returns ms from spawning the agent `argv` until it answers a ping at `socketPath`; then it is killed. */
export function timeStart(socketPath: string, argv: readonly string[]): Promise<number> {
  return timed(['start', socketPath, ...argv]);
}

/** @returns ms from spawning a program until it has exited. */
export function timeRun(argv: readonly string[]): Promise<number> {
  return timed(['run', ...argv]);
}

/** The trivial server: answers each line with `replyBytes` bytes. */
export function startServer(socketPath: string, replyBytes: number): ChildProcess {
  return spawn(program, ['serve', socketPath, String(replyBytes)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

async function timed(args: readonly string[]): Promise<number> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let complaint = '';
  child.stdout.on('data', (text) => {
    out += String(text);
  });
  child.stderr.on('data', (text) => {
    complaint += String(text);
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new ClientError(complaint.trim());
  const result = JSON.parse(out) as Record<string, unknown>;
  return number(result.ns) / 1e6;
}

function exchangeOf(result: Record<string, unknown>): Exchange {
  return {
    seconds: number(result.ns) / 1e9,
    receivedBytes: number(result.receivedBytes),
    lines: number(result.lines),
    p50Ms: number(result.p50) / 1e6,
    p99Ms: number(result.p99) / 1e6,
    gap99Ms: number(result.gap99) / 1e6,
    gapMaxMs: number(result.gapMax) / 1e6,
    first: Buffer.from(String(result.first ?? ''), 'hex').toString('latin1'),
  };
}

/** What an order did not measure counts as 0. */
function number(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}
