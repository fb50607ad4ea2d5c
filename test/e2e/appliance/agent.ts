/** The host's side of the small guest's agent: requests with their times, and scripts. */
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import type { Channel } from '../channel.ts';

/** Issue: every request is answered within this. */
export const ANSWER_LIMIT_MS = 20_000;
const POLL_MS = 50;

const replySchema = v.union([
  v.object({ return: v.unknown() }),
  v.object({ error: v.object({ desc: v.string() }) }),
]);
const pidSchema = v.object({ pid: v.number() });
const statusSchema = v.strictObject({
  exited: v.boolean(),
  exitcode: v.optional(v.number()),
  'out-data': v.optional(v.string()),
  'out-truncated': v.optional(v.boolean()),
});

export interface ScriptEnd {
  readonly exitCode: number | undefined;
  readonly output: Buffer;
  readonly truncated: boolean;
  /** Of the reply that carried the output. */
  readonly collectMs: number;
}

export class Agent {
  /** The longest that a request waited for its answer. */
  slowestMs = 0;
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** @throws Error when the answer is an error or does not come within {@link ANSWER_LIMIT_MS}. */
  async request(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
    const [result] = await this.pipeline(execute, [args]);
    return result;
  }

  /** Sends one request for each of `argsList` at once. Each has to be answered in time after the one before. */
  async pipeline(execute: string, argsList: readonly Record<string, unknown>[]): Promise<unknown[]> {
    let since = performance.now();
    const written = this.#channel.write(
      argsList.map((args) => `${JSON.stringify({ execute, arguments: args })}\n`).join(''),
    );
    written.catch(() => undefined); // the channel's end is told by line() too
    const results: unknown[] = [];
    for (const _ of argsList) {
      const line = await this.#channel.line(ANSWER_LIMIT_MS);
      const now = performance.now();
      this.slowestMs = Math.max(this.slowestMs, now - since);
      since = now;
      const reply = v.parse(replySchema, JSON.parse(line.toString('latin1')));
      if ('error' in reply) throw new Error(`${execute}: ${reply.error.desc}`);
      results.push(reply.return);
    }
    return results;
  }

  /** Waits for the answer to a request that was given up. @returns in words, what came. */
  async lateAnswer(limitMs: number): Promise<string> {
    const since = performance.now();
    try {
      const line = await this.#channel.line(limitMs);
      return `${line.length} bytes, ${((performance.now() - since) / 1000).toFixed(1)} s too late`;
    } catch {
      return `none in another ${limitMs / 1000} s`;
    }
  }

  /** Starts scripts given as text, output captured. @returns their pids. */
  async start(texts: readonly string[]): Promise<number[]> {
    const requests = texts.map((text) => ({
      'input-data': Buffer.from(text).toString('base64'),
      'capture-output': true,
    }));
    const replies = await this.pipeline('guest-exec', requests);
    return replies.map((reply) => v.parse(pidSchema, reply).pid);
  }

  /** Waits for a script's end and takes its output. */
  async end(pid: number, limitMs = 60_000): Promise<ScriptEnd> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      const askedAt = performance.now();
      const status = v.parse(statusSchema, await this.request('guest-exec-status', { pid }));
      if (status.exited) {
        return {
          exitCode: status.exitcode,
          output: Buffer.from(status['out-data'] ?? '', 'base64'),
          truncated: status['out-truncated'] ?? false,
          collectMs: performance.now() - askedAt,
        };
      }
      if (performance.now() > deadline) throw new Error(`script ${pid} has not ended after ${limitMs} ms`);
      await sleep(POLL_MS);
    }
  }

  /** Runs a script. @returns its output. @throws Error if it fails. */
  async run(text: string): Promise<string> {
    const [pid] = await this.start([text]);
    if (pid === undefined) throw new Error('no pid');
    const { exitCode, output } = await this.end(pid);
    if (exitCode !== 0) throw new Error(`script failed (${exitCode}): ${output.toString('latin1')}`);
    return output.toString('utf8');
  }
}
