/** Runs scripts in the guest through the agent: guest-exec in the profile of the agent under test, then guest-exec-status. */
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { agentName } from './environment.ts';
import type { Guest } from './guest.ts';

const started = v.object({ pid: v.pipe(v.number(), v.integer()) });
/** Exactly what the chr profile answers; the upstream one may add more. */
const chrStatus = v.strictObject({
  exited: v.boolean(),
  exitcode: v.optional(v.number()),
  'out-data': v.optional(v.string()),
  'out-truncated': v.optional(v.boolean()),
});
const upstreamStatus = v.object(chrStatus.entries);
const status = agentName === 'chr-agent' ? chrStatus : upstreamStatus;

export interface ScriptResult {
  readonly exitcode: number | undefined;
  readonly output: string;
}

/** Waits until the script has ended. */
export async function scriptEnd(guest: Guest, pid: number, limitMs = 60_000): Promise<ScriptResult> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const result = v.parse(status, await guest.agent('guest-exec-status', { pid }));
    if (result.exited) {
      const output = Buffer.from(result['out-data'] ?? '', 'base64').toString('utf8');
      return { exitcode: result.exitcode, output };
    }
    if (performance.now() > deadline) throw new Error(`the script ${pid} has not ended after ${limitMs} ms`);
    await sleep(100);
  }
}

/** Starts what the arguments of guest-exec say. Returns its pid. */
export async function startExec(guest: Guest, args: Record<string, unknown>): Promise<number> {
  return v.parse(started, await guest.agent('guest-exec', args)).pid;
}

/** Runs a script given as text: without a path in the chr profile, as a shell's stdin in the upstream one. */
export async function runText(guest: Guest, text: string, limitMs?: number): Promise<ScriptResult> {
  const data = { 'input-data': Buffer.from(text).toString('base64'), 'capture-output': true };
  const pid = await startExec(guest, agentName === 'chr-agent' ? data : { path: '/bin/sh', ...data });
  return await scriptEnd(guest, pid, limitMs);
}
