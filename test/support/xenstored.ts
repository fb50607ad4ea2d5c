/**
 * The unchanged C xenstored on a machine without Xen: test/hosts/xenstored/shim.c, preloaded into it, stands in for the hypervisor
 * and for the guests' kernels.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Connection } from '../../src/protocols/xenstore/connection.ts';
import { buildDomain, removeDomain } from '../../src/protocols/xenstore/store/domain.ts';
import { encodeTexts, MessageType } from '../../src/protocols/xenstore/wire.ts';
import { connectTo, type TestStore, until } from './test-store.ts';

const SHIM_SOURCE = join(import.meta.dirname, '../hosts/xenstored/shim.c');
const PROGRAMS = ['/usr/lib/xen-4.17/bin/xenstored', '/usr/sbin/xenstored'];
const PACKAGES = 'apt-get install xen-utils-4.17 xenstore-utils gcc libc6-dev';

/** Why it can't run here, or undefined if it can. */
export function xenstoredMissing(): string | undefined {
  if (program() === undefined) return `xenstored is not installed (${PACKAGES})`;
  return existsSync('/usr/bin/gcc') ? undefined : `gcc is not installed (${PACKAGES})`;
}

function program(): string | undefined {
  return PROGRAMS.find(existsSync);
}

export interface XenstoredOptions {
  /** The xenbus sockets answer WATCH and UNWATCH with the id 0, as Linux before 4.11. */
  readonly oldKernel?: boolean;
  /** xenstored's own: `-W 4` four watches, `-S 512` 512-byte nodes … */
  readonly args?: readonly string[];
}

export interface Xenstored extends TestStore {
  /** xenstored's log of every request. */
  trace(): string;
  /** Ends the process as a crash does; the sockets stay as dead files. {@link restart} starts another one, with an empty tree. */
  kill(): Promise<void>;
  /** The toolstack's connection of before is gone: {@link TestStore.toolstack} is another one afterwards. */
  restart(): Promise<void>;
}

export async function startXenstored(options: XenstoredOptions = {}): Promise<Xenstored> {
  const directory = mkdtempSync(join(tmpdir(), 'xs-'));
  const socket = join(directory, 'socket');
  const control = join(directory, 'ctl.sock');
  const shim = builtShim();
  let child: ChildProcess;
  let ended: Promise<void>;
  let toolstack = await start();

  const guestSocket = (id: number) => join(directory, `domU-${id}.sock`);
  const xenbusSocket = (id: number) => join(directory, `domU-${id}.xenbus.sock`);

  return {
    toolstackSocket: socket,
    get toolstack() {
      return toolstack;
    },
    domainUp: up,
    async resume(from, to, domain) {
      // the suspended domain still exists while the new one is being built
      await command(control, `shutdown ${from}`);
      await up(to, domain);
      await command(control, `rebind ${from} ${to}`);
      await command(control, `destroy ${from}`);
      await goneFromStore(from);
      await until(
        'the sockets of the new domain',
        () => existsSync(guestSocket(to)) && existsSync(xenbusSocket(to)),
      );
    },
    async domainDown(id) {
      await command(control, `destroy ${id}`);
      await goneFromStore(id);
    },
    guestSocket,
    xenbusSocket,
    trace: () => readFileSync(join(directory, 'trace'), 'latin1'),
    kill,
    async restart() {
      toolstack = await start();
    },
    async stop() {
      await kill();
      rmSync(directory, { recursive: true });
    },
  };

  async function start(): Promise<Connection> {
    const path = program();
    if (path === undefined) throw new Error(xenstoredMissing());
    for (const old of [socket, control]) rmSync(old, { force: true });
    // it must not outlive a test that is killed
    const argv = ['--pdeathsig=KILL', path, '-N', '--pid-file', join(directory, 'pid')];
    child = spawn('setpriv', [...argv, '-T', join(directory, 'trace'), ...(options.args ?? [])], {
      stdio: 'ignore',
      env: {
        ...process.env,
        LD_PRELOAD: shim,
        XENSTORED_RUNDIR: directory,
        XENSTORED_PATH: socket,
        ...(options.oldKernel === true ? { SHIM_OLD_KERNEL: '1' } : {}),
      },
    });
    ended = new Promise((resolve) => child.once('exit', () => resolve()));
    let connection: Connection | undefined;
    await until('xenstored', () => {
      if (child.exitCode !== null) throw new Error(`xenstored ended at once (${child.exitCode})`);
      connection = existsSync(control) ? tryToConnect(socket) : undefined;
      return connection !== undefined;
    });
    if (connection === undefined) throw new Error('xenstored did not start');
    return connection;
  }

  async function kill() {
    toolstack.close();
    child.kill('SIGKILL');
    await ended;
  }

  async function up(id: number, domain: Parameters<TestStore['domainUp']>[1]) {
    await command(control, `create ${id}`);
    const uuid = await buildDomain(toolstack, id, domain);
    await toolstack.request(MessageType.INTRODUCE, encodeTexts(String(id), '1', '1'));
    await until(
      'the sockets of the domain',
      () => existsSync(guestSocket(id)) && existsSync(xenbusSocket(id)),
    );
    return uuid;
  }

  /** The store hears of the end by an event; to remove what is left before would be undone by nobody, but races with it. */
  async function goneFromStore(id: number) {
    await until('the end of the domain', async () => {
      const reply = await toolstack.request(MessageType.IS_DOMAIN_INTRODUCED, encodeTexts(String(id)));
      return reply.toString('latin1', 0, 1) === 'F';
    });
    await removeDomain(toolstack, id);
  }
}

/** undefined while nobody listens there. */
function tryToConnect(path: string): Connection | undefined {
  try {
    return connectTo(path);
  } catch {
    return undefined;
  }
}

/** Compiled when its source is newer. */
function builtShim(): string {
  const folder = join(import.meta.dirname, '../../build');
  const library = join(folder, 'xenstored-shim.so');
  const builtAtMs = statSync(library, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (builtAtMs < statSync(SHIM_SOURCE).mtimeMs) {
    mkdirSync(folder, { recursive: true });
    // another test may be doing the same
    const fresh = `${library}.${process.pid}`;
    execFileSync('gcc', ['-O1', '-shared', '-fPIC', '-pthread', '-o', fresh, SHIM_SOURCE, '-ldl']);
    renameSync(fresh, library);
  }
  return library;
}

/** One line to the shim, which plays the domain builder. */
function command(control: string, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(control, () => socket.write(`${line}\n`));
    socket.setEncoding('latin1');
    socket.once('data', (answer: string) => {
      socket.destroy();
      if (answer.startsWith('ok')) resolve(answer.slice(2).trim());
      else reject(new Error(`${line}: ${answer.trim()}`));
    });
    socket.once('error', reject);
  });
}
