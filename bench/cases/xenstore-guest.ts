/** A Xen guest for the benchmark: a store, a domain in it, and the daemon in that; the bench itself is the host's toolstack. */
import { execFileSync } from 'node:child_process';
import { constants, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connectTo, type TestStore } from '../../test/support/test-store.ts';
import { type Agent, launch } from '../agents.ts';

const DOMAIN = 3;
const HOME = `/local/domain/${DOMAIN}`;
const SCRIPT_NODE = `${HOME}/vm-data/provision/script`;
/** The daemon is up, or a script has ended, long before. */
const LIMIT_MS = 30_000;
const POLL_MS = 2;

/** Both from the host's write on. */
export interface ScriptStart {
  /** Until the host hears of the new status. */
  readonly takenMs: number;
  /** Until the script says that it runs. */
  readonly startedMs: number;
}

export interface XenGuest {
  readonly agent: Agent;
  /** Has the daemon run a script. Resolves when it is ready for the next one. */
  timeScript(): Promise<ScriptStart>;
  /** Ends the daemon and the store. */
  stop(): Promise<void>;
}

/**
 * From the write until the event of a watch on that node has come to a client at the guest's socket that does nothing else: what the
 * store and the bench need for themselves. The daemon shall not be there yet.
 * @returns `count` samples, in ms
 */
export async function timeEvents(store: TestStore, count: number): Promise<number[]> {
  const samples: number[] = [];
  const guest = connectTo(store.guestSocket(DOMAIN));
  let onEvent = () => {};
  const first = new Promise<void>((resolve) => {
    onEvent = resolve;
  });
  // in a folder of the guest's that the daemon does not look at
  const watch = await guest.watch('vm-data/bench', () => onEvent());
  await first;
  for (let index = 0; index < count; index += 1) {
    const seen = new Promise<number>((resolve) => {
      onEvent = () => resolve(performance.now());
    });
    const writtenMs = performance.now();
    await store.toolstack.write(`${HOME}/vm-data/bench`, String(index));
    samples.push((await seen) - writtenMs);
  }
  await watch.close();
  guest.close();
  return samples;
}

/** Builds the domain in which {@link startXenGuest} starts the daemon. */
export async function buildXenDomain(store: TestStore): Promise<void> {
  await store.domainUp(DOMAIN, { layout: 'xapi' });
}

/** Starts the daemon; resolves when it takes scripts and has published everything. @param program our bin/chr-agent */
export async function startXenGuest(store: TestStore, program: string): Promise<XenGuest> {
  const directory = mkdtempSync(join(tmpdir(), 'chr-agent-bench-'));
  const config = join(directory, 'agent.toml');
  writeFileSync(config, configuration(directory, store.guestSocket(DOMAIN)));
  const agent = await launch('ours', {
    argv: [program, 'run', '--config', config],
    socketPath: '',
    controlPath: join(directory, 'run/control.sock'),
    cleanUp: () => rmSync(directory, { recursive: true }),
  });
  const pipe = openStartPipe(join(directory, 'started'));
  // redirection and echo are the shell's own: no program is started
  const script = Buffer.from(`echo > ${pipe.path}\n`).toString('base64');
  const read = (path: string) => store.toolstack.read(path).then(String, () => null);
  let onStatus = () => {};
  const watch = await store.toolstack.watch(`${SCRIPT_NODE}/status`, () => onStatus());

  const guest: XenGuest = {
    agent,
    async timeScript() {
      const started = pipe.next();
      const writtenMs = performance.now();
      let takenMs = Number.NaN;
      onStatus = () => {
        takenMs = performance.now() - writtenMs;
        onStatus = () => {};
      };
      await store.toolstack.write(SCRIPT_NODE, script);
      const startedMs = (await started) - writtenMs;
      // 'running' is there before the script starts
      await poll('the end of a script', async () => (await read(`${SCRIPT_NODE}/status`)) === 'ready');
      return { takenMs, startedMs };
    },
    async stop() {
      await watch.close();
      pipe.close();
      await agent.stop();
    },
  };
  try {
    await poll(
      'the daemon in the guest',
      async () =>
        (await read(`${SCRIPT_NODE}/status`)) === 'ready' && (await read(`${HOME}/data/updated`)) !== null,
    );
    return guest;
  } catch (error) {
    await guest.stop();
    throw error;
  }
}

interface StartPipe {
  readonly path: string;
  /** Resolves with the time (performance.now) of the next line; to be called before it comes. */
  next(): Promise<number>;
  close(): void;
}

function openStartPipe(path: string): StartPipe {
  execFileSync('mkfifo', ['-m', '600', path]);
  // as writer too: it does not end when a script has closed it
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const pipe = new Socket({ fd, readable: true, writable: false });
  let onLine = () => {};
  pipe.on('data', () => onLine());
  return {
    path,
    next() {
      const { promise, resolve, reject } = Promise.withResolvers<number>();
      const timer = setTimeout(() => reject(new Error('a script did not start')), LIMIT_MS);
      onLine = () => {
        clearTimeout(timer);
        resolve(performance.now());
      };
      return promise;
    },
    close: () => void pipe.destroy(),
  };
}

async function poll(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + LIMIT_MS;
  while (!(await isTrue())) {
    if (performance.now() > endMs) throw new Error(`waited in vain for ${what}`);
    await delay(POLL_MS);
  }
}

function configuration(directory: string, socketPath: string): string {
  const text = (value: string) => JSON.stringify(value);
  return [
    '[agent]',
    'log-level = "warning"',
    `runtime-dir = ${text(join(directory, 'run'))}`,
    `state-dir = ${text(join(directory, 'state'))}`,
    'drain-limit = 1',
    '[xenstore]',
    'enabled = true',
    `path = ${text(socketPath)}`,
    ...['qemu-ga', 'vmtools', 'shaper'].flatMap((table) => [`[${table}]`, 'enabled = false']),
    '',
  ].join('\n');
}
