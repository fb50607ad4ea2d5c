/**
 * Two network namespaces joined by a veth pair, for tests of the shaper: `router`, whose end of the pair is to be limited,
 * and `peer`. They end with the processes that hold them; nothing of the machine's own network is touched.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Link } from '../../src/guest/linux/netlink.ts';
import type { Qdisc, QdiscStatistics } from '../../src/guest/linux/netlink-tc.ts';
import { networkInterfaces } from '../../src/guest/network.ts';
import { readTrafficControl } from '../../src/guest/traffic-control.ts';
import { native } from '../../src/native/index.ts';

export const labIsPossible =
  process.getuid?.() === 0 &&
  ['/usr/bin/unshare', '/usr/bin/nsenter', '/usr/bin/setpriv', '/usr/sbin/ip', '/usr/sbin/tc'].every((path) =>
    existsSync(path),
  );

export type Place = 'router' | 'peer';

export interface NetworkLab {
  /** The veth ends: `near` in the router, `far` in the peer. Names that nothing else on the machine has. */
  readonly near: string;
  readonly far: string;
  readonly segmentation: boolean;
  /** Runs a program there and gives its stdout; throws if it fails. */
  run(place: Place, program: string, ...args: string[]): string;
  /** Starts one there. It is killed at the end. */
  start(place: Place, program: string, args: readonly string[], stdio?: 'ignore' | 'pipe'): ChildProcess;
  /** /proc/PID/ns/net */
  path(place: Place): string;
  links(place: Place): readonly Link[];
  qdiscs(place: Place, name: string): readonly Qdisc[];
  /** Of the root qdisc. */
  sent(place: Place, name: string): QdiscStatistics;
  close(): Promise<void>;
}

export const PEER_ADDRESS = '192.0.2.2';
const ROUTER_ADDRESS = '192.0.2.1';

/** Also when the test itself is killed. */
const MORTAL = ['--pdeathsig', 'KILL'];

let made = 0;

/**
 * @param queues of the veth pair
 * @param segmentation whether one packet may hold many segments, as with TSO; without, the counters of both ends mean the same
 */
export async function createNetworkLab({
  mtu = 1500,
  queues = 1,
  segmentation = false,
} = {}): Promise<NetworkLab> {
  const children: ChildProcess[] = [];
  const holders = { router: await holdNamespace(children), peer: await holdNamespace(children) };
  made += 1;
  // 15 characters at most
  const base = `c${process.pid.toString(36)}${made}`;
  const near = `${base}n`;
  const far = `${base}f`;
  const pidOf = (place: Place) => String(holders[place]);
  const inside = (place: Place) => ['-t', pidOf(place), '-n', '--'];
  const run = (place: Place, program: string, ...args: string[]) =>
    execFileSync('/usr/bin/nsenter', [...inside(place), program, ...args], { encoding: 'utf8' });
  const path = (place: Place) => `/proc/${pidOf(place)}/ns/net`;

  function read(place: Place) {
    const fd = openSync(path(place), 'r');
    try {
      return readTrafficControl(native, fd);
    } finally {
      closeSync(fd);
    }
  }

  const lab: NetworkLab = {
    near,
    far,
    segmentation,
    run,
    path,
    start(place, program, args, stdio = 'ignore') {
      const child = spawn(
        '/usr/bin/setpriv',
        [...MORTAL, '/usr/bin/nsenter', ...inside(place), program, ...args],
        {
          stdio: [stdio, stdio, stdio === 'pipe' ? 'inherit' : 'ignore'],
        },
      );
      children.push(child);
      return child;
    },
    links: (place) => read(place).links,
    qdiscs(place, name) {
      const { links, qdiscs } = read(place);
      const link = links.find((one) => one.name === name);
      return (link && qdiscs.get(link.index)) ?? [];
    },
    sent(place, name) {
      const root = lab.qdiscs(place, name).find(({ parent }) => parent === 0xffff_ffff);
      if (!root?.statistics) throw new Error(`${name} has no root qdisc with counters`);
      return root.statistics;
    },
    async close() {
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(children.map(ended));
    },
  };

  const counts = `numtxqueues ${queues} numrxqueues ${queues} mtu ${mtu}`;
  const setUp = (name: string, address: string) => `
    ip link set lo up
    ip address add ${address}/24 dev ${name}
    ${segmentation ? '' : `ip link set ${name} gso_max_segs 1`}
    ip link set ${name} up`;
  const pair = `ip link add ${near} ${counts} type veth peer name ${far} ${counts} netns ${pidOf('peer')}`;
  const script = `set -e; ${pair}\n${setUp(near, ROUTER_ADDRESS)}\nnsenter -t ${pidOf('peer')} -n sh -ec '${setUp(far, PEER_ADDRESS)}'`;
  run('router', 'sh', '-c', script);
  return lab;
}

/** Bytes that came in at a place. */
export function receivedBytes(lab: NetworkLab, place: Place, name: string): number {
  const fd = openSync(lab.path(place), 'r');
  const socket = native.netlinkOpen(fd);
  closeSync(fd);
  try {
    const interfaces = networkInterfaces({
      errorText: native.errorText,
      netlinkDump: (request) => native.netlinkRequest(socket, request),
    });
    return Number(interfaces.find((one) => one.name === name)?.statistics?.rxBytes ?? 0n);
  } finally {
    native.close(socket);
  }
}

const ECHO_PORT = 4077;
const ECHO = `
  const socket = require('dgram').createSocket('udp4');
  socket.on('message', (data, { port, address }) => socket.send(data.subarray(0, 8), port, address));
  socket.bind(${ECHO_PORT});`;
/** Prints the round trips in ms; a lost one counts as a second. */
const ASK = `
  const [count, sizeBytes] = process.argv.slice(1).map(Number);
  const socket = require('dgram').createSocket('udp4');
  const times = [];
  let timer;
  const next = () => {
    if (times.length === count) return console.log(JSON.stringify(times)), process.exit();
    const start = performance.now();
    const done = (ms) => (clearTimeout(timer), socket.removeAllListeners('message'), times.push(ms), setTimeout(next, 20));
    timer = setTimeout(() => done(1000), 1000);
    socket.on('message', () => done(performance.now() - start));
    socket.send(Buffer.alloc(sizeBytes), ${ECHO_PORT}, '${PEER_ADDRESS}');
  };
  next();`;

/** Answers datagrams in the peer until the lab is closed. */
export async function startEcho(lab: NetworkLab): Promise<void> {
  lab.start('peer', process.execPath, ['-e', ECHO]);
  await until(
    () => lab.run('peer', 'ss', '-Hlun', `sport = :${ECHO_PORT}`) !== '',
    'nobody echoes datagrams',
  );
}

/** Sends datagrams of that size to the echo, one after the other: their round trips in ms, 1000 for a lost one. */
export function roundTrips(lab: NetworkLab, count: number, sizeBytes: number): number[] {
  return JSON.parse(lab.run('router', process.execPath, '-e', ASK, String(count), String(sizeBytes)));
}

/** Waits for a condition; the message of the failure is what `describe` says. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  describe: string | (() => string),
  limitMs = 15_000,
): Promise<number> {
  const start = performance.now();
  while (!(await condition())) {
    if (performance.now() - start > limitMs)
      throw new Error(`not within ${limitMs} ms: ${typeof describe === 'string' ? describe : describe()}`);
    await delay(5);
  }
  return performance.now() - start;
}

async function holdNamespace(children: ChildProcess[]): Promise<number> {
  // says a word when it is in the new namespace
  const script = ['-n', 'sh', '-c', 'echo; exec sleep 3600'];
  const holder = spawn('/usr/bin/setpriv', [...MORTAL, '/usr/bin/unshare', ...script], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  children.push(holder);
  await new Promise<void>((resolve, reject) => {
    holder.stdout?.once('data', () => resolve());
    holder.once('exit', () => reject(new Error('no network namespace')));
  });
  const { pid } = holder;
  if (pid === undefined || readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync('/proc/self/ns/net'))
    throw new Error('the namespace was not made');
  return pid;
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once('exit', () => resolve()));
}
