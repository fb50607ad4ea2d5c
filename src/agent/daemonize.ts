/**
 * `-d` of qemu-ga. A Node.js process cannot fork, so the daemon is a second process of the same program, started in a
 * session of its own with 0-2 on /dev/null; the first one waits until it is up and exits.
 */
import { spawn } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';

/** Tells the second process what it is. */
const MARK = 'CHR_AGENT_DAEMONIZED';
/** The pipe on which it says that it is up. */
const READY_FD = 3;

/** Whether this is the second process; forgets the mark, which is nobody else's business. */
export function isDaemonized(env: NodeJS.ProcessEnv): boolean {
  const marked = env[MARK] === '1';
  delete env[MARK];
  return marked;
}

/**
 * Starts this program again with the same arguments, and waits until it calls {@link daemonIsUp}.
 * @returns null, or its exit status if it ended before that
 */
export function startDaemon(env: NodeJS.ProcessEnv): Promise<number | null> {
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true, // setsid
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    env: { ...env, [MARK]: '1' },
  });
  child.on('error', reject);
  child.on('exit', (code) => resolve(code ?? 1));
  const ready = child.stdio[READY_FD] as Readable;
  ready.on('data', () => {
    ready.destroy();
    child.unref();
    resolve(null);
  });
  return promise;
}

/** In the second process: lets the first one go. */
export function daemonIsUp(): void {
  writeSync(READY_FD, '1');
  closeSync(READY_FD);
}

/** What a daemon leaves behind: the umask and the directory of whoever started it. */
export function leaveSurroundings(): void {
  process.umask(0o077);
  process.chdir('/');
}
