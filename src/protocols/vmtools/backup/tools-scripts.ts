/**
 * The scripts that open-vm-tools runs around a freeze: the two old ones in /usr/sbin, and those in `backupScripts.d`
 * (spec vmware.md section 8). One at a time: up in their order before the freeze, down after it.
 */
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import type { FreezeGate } from '../../../guest/freeze-gate.ts';
import type { ProgramResult, RunProgram } from '../../../guest/program.ts';
import type { Log } from '../../../log.ts';
import type { QuiesceHooks } from '../../../quiesce/hooks.ts';

export interface BackupScriptsOptions {
  readonly run: RunProgram;
  readonly gate: FreezeGate;
  readonly log: Log;
  /** `backupScripts.d`. */
  readonly directory: string;
  /** The last argument of each; null: none. */
  readonly argument: string | null;
  readonly old?: { readonly freeze: string; readonly thaw: string };
  /** Of each script. A freeze ends earlier, with the operation. */
  readonly timeLimitMs?: number;
}

const OLD = { freeze: '/usr/sbin/pre-freeze-script', thaw: '/usr/sbin/post-thaw-script' };
const TIME_LIMIT_MS = 900_000;

/** For one operation. */
export function backupScripts(options: BackupScriptsOptions): QuiesceHooks {
  const { run, gate, log, directory, argument, old = OLD, timeLimitMs = TIME_LIMIT_MS } = options;
  /** Those that were called with `freeze`, or were to be: the first is the old one. */
  let scripts: readonly string[] = [];
  /** How many of them were called before the one that failed. */
  let called = 0;

  async function call(path: string, word: string, signal?: AbortSignal): Promise<ProgramResult | null> {
    if (!(await gate.pass(() => isFile(path)))) return null;
    const limit = AbortSignal.timeout(timeLimitMs);
    const result = await run({
      candidates: ['/bin/sh'],
      // a file without `#!` is a shell script
      args: ['-c', 'exec "$0" "$@"', path, word, ...(argument === null ? [] : [argument])],
      signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
    });
    const isSuccess = result.kind === 'exited' && result.code === 0;
    if (!isSuccess) log.warning(`backup script ${path} ${word}: failed`);
    return isSuccess ? null : result;
  }

  /** From the last one called down to the first. */
  async function callDown(word: 'thaw' | 'freezeFail'): Promise<ProgramResult | null> {
    let failure: ProgramResult | null = null;
    const [first, ...others] = scripts.slice(0, called);
    for (const path of others.reverse()) failure = (await call(path, word)) ?? failure;
    if (first !== undefined) failure = (await call(old.thaw, word)) ?? failure;
    called = 0;
    return failure;
  }

  const failed = (result: ProgramResult | null) => result && { kind: 'program' as const, result };

  return {
    async freeze(signal) {
      scripts = [old.freeze, ...(await gate.pass(() => listFiles(directory)))];
      for (const path of scripts) {
        const result = await call(path, 'freeze', signal);
        if (result !== null) return failed(result);
        called += 1;
      }
      return null;
    },
    async freezeFailed() {
      await callDown('freezeFail');
    },
    thaw: async () => failed(await callDown('thaw')),
  };
}

/** Regular files, in the order of their bytes. */
async function listFiles(directory: string): Promise<string[]> {
  const names = await fs.readdir(directory, { encoding: 'buffer' }).catch((): Buffer[] => []);
  const paths = names.sort(Buffer.compare).map((name) => join(directory, name.toString()));
  const kept = await Promise.all(paths.map(isFile));
  return paths.filter((_, index) => kept[index]);
}

async function isFile(path: string): Promise<boolean> {
  return fs.stat(path).then(
    (stat) => stat.isFile(),
    () => false,
  );
}
