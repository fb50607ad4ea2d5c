/** The QEMU guest agent as a protocol of the daemon: its commands, one session, and the endpoint that feeds it. */
import { setTimeout as delay } from 'node:timers/promises';
import type { FreezeGate } from '../../guest/freeze-gate.ts';
import type { Guest } from '../../guest/guest.ts';
import type { Log } from '../../log.ts';
import type { NativeAddon } from '../../native/index.ts';
import { releaseMemory } from '../../native/release-memory.ts';
import type { Quiescer } from '../../quiesce/quiescer.ts';
import { resolveInFilesDir } from '../../scripts/files.ts';
import type { ScriptEngine } from '../../scripts/jobs.ts';
import { type EndpointAddress, type EndpointState, runEndpoint } from '../transport/endpoint.ts';
import type { QgaContext } from './commands/context.ts';
import { commands } from './commands/index.ts';
import { createFileHandles } from './file-handles.ts';
import { createHandleCounter } from './handle-counter.ts';
import { createRegistry } from './registry.ts';
import { createSession } from './session.ts';

export interface QgaServiceOptions {
  native: NativeAddon;
  log: Log;
  gate: FreezeGate;
  guest: Guest;
  quiescer: Quiescer;
  scripts: ScriptEngine;
  address: EndpointAddress;
  compat: 'chr' | 'upstream';
  version: string;
  blockedCommands: readonly string[];
  allowedCommands: readonly string[];
  filesDir: string;
  /** Where the counter of file handles is kept; its directory exists. */
  stateFile: string;
  scriptTimeLimitMs: number;
  /** Whether an endpoint that cannot be set up, or fails, is tried again. */
  retries: boolean;
  onState(state: EndpointState, detail: string): void;
}

export interface QgaService {
  /** Resolves when the endpoint has ended by itself or by {@link stop}. @throws {EndpointError} without `retries`. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

/** Between attempts to set up a listener. */
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;

export function startQgaService(options: QgaServiceOptions): QgaService {
  const { native, log, gate, guest, quiescer, scripts, compat, filesDir } = options;
  const registry = createRegistry(commands, {
    allowed: options.allowedCommands,
    blocked: options.blockedCommands,
    isFrozen: () => gate.frozen,
  });
  const files = createFileHandles({
    native,
    gate,
    counter: createHandleCounter(options.stateFile),
    resolvePath: (path) => (compat === 'chr' ? resolveInFilesDir(filesDir, path) : path),
  });
  const context: QgaContext = {
    compat,
    version: options.version,
    native,
    log,
    guest,
    quiescer,
    isFrozen: () => gate.frozen,
    jobs: scripts,
    scriptTimeLimitMs: options.scriptTimeLimitMs,
    startProgram: (request) => scripts.startProgram(request),
    programs: new Map(),
    files,
    listCommands: () =>
      registry.commands.map(({ name, repliesOnSuccess }) => ({
        name,
        enabled: registry.isEnabled(name),
        repliesOnSuccess,
      })),
  };
  const session = createSession({
    native,
    log,
    registry,
    context,
    releaseMemory: () => releaseMemory(native),
  });
  const stopping = new AbortController();

  async function run(): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (!stopping.signal.aborted) {
      try {
        await runEndpoint(options.address, {
          native,
          log,
          signal: stopping.signal,
          retries: options.retries,
          serve: (channel) => session.serve(channel),
          onState: options.onState,
        });
        return;
      } catch (error) {
        if (!options.retries) throw error;
        const problem = error instanceof Error ? error.message : String(error);
        log.error(`qemu-ga: ${problem}; next try in ${retryMs / 1000} s`);
        options.onState('failed', problem);
      }
      await delay(retryMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      retryMs = Math.min(2 * retryMs, LAST_RETRY_MS);
    }
  }

  const ended = run().finally(() => files.closeAll());
  // whoever waits for it gets the error; without anyone it has been logged by the daemon
  ended.catch(() => undefined);
  return {
    ended,
    async stop() {
      stopping.abort();
      await ended.catch(() => undefined);
    },
  };
}
