/** Traffic through a lab with iperf3, and how much of it goes over the wire by the counters of both ends. */
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type NetworkLab, PEER_ADDRESS, receivedBytes, until } from './network-lab.ts';

export const uploadIsPossible = existsSync('/usr/bin/iperf3');

export interface Traffic {
  readonly flows: number;
  /** UDP: datagrams of that size, offered at this rate. */
  readonly udp?: { readonly bytes: number; readonly megabits: number };
  /** The other direction, peer to router. */
  readonly isDownload?: boolean;
}

export interface Wire {
  /** Layer 2, by the counter of the limit. */
  readonly sentBitsPerSecond: number;
  /** Layer 2, by the interface at the other end. */
  readonly receivedBitsPerSecond: number;
  /** Whether every packet was counted by itself: the two counters mean the same then. */
  readonly isSegmented: boolean;
  /** Whether there was always something waiting to be sent. */
  readonly wasFull: boolean;
}

/** A server has one client at a time. */
const PORT = 5201;
const OTHER_PORT = 5202;

/** Listens in the peer until the lab is closed. */
export async function startIperfServer(lab: NetworkLab): Promise<void> {
  for (const port of [PORT, OTHER_PORT]) {
    lab.start('peer', 'iperf3', ['-s', '-p', String(port)]);
    await until(() => lab.run('peer', 'ss', '-Hltn', `sport = :${port}`) !== '', 'iperf3 does not listen');
  }
}

/** Sends until it is disposed of; returns once the limit holds it up. */
export async function startUpload(lab: NetworkLab, traffic: Traffic) {
  const before = lab.sent('router', lab.near).overlimits;
  const client = lab.start('router', 'iperf3', iperf(traffic, 600, PORT));
  await until(() => lab.sent('router', lab.near).overlimits > before, 'nothing reaches the limit');
  return {
    otherPort: OTHER_PORT,
    async [Symbol.asyncDispose]() {
      const exit = new Promise((resolve) => client.once('exit', resolve));
      client.kill('SIGKILL');
      await exit;
      await delay(500);
    },
  };
}

const HOLD_UP_LIMIT_MS = 10_000;

function iperf({ flows, udp, isDownload }: Traffic, seconds: number, port = PORT): string[] {
  const args = ['-c', PEER_ADDRESS, '-p', String(port), '-t', String(seconds), '-P', String(flows), '-J'];
  if (udp) args.push('-u', '-l', String(udp.bytes), '-b', `${udp.megabits / flows}M`);
  if (isDownload) args.push('-R');
  return args;
}

/**
 * The wire's rate over so many seconds, from one second after the limit began to hold the traffic up.
 * @returns null if the machine is too busy to send that much
 */
export async function measureUpload(
  lab: NetworkLab,
  traffic: Traffic,
  seconds: number,
): Promise<Wire | null> {
  const client = lab.start('router', 'iperf3', iperf(traffic, seconds + 20));
  try {
    const before = lab.sent('router', lab.near).overlimits;
    const isHeldUp = () => lab.sent('router', lab.near).overlimits > before;
    for (const start = performance.now(); !isHeldUp(); await delay(20))
      if (performance.now() - start > HOLD_UP_LIMIT_MS) return null;
    await delay(1000);
    const start = look(lab);
    let wasFull = true;
    for (let end = performance.now() + seconds * 1000; performance.now() < end; ) {
      await delay(20);
      wasFull &&= lab.sent('router', lab.near).backlogPackets > 0;
    }
    const end = look(lab);
    const rate = (from: number, to: number) => ((to - from) * 8000) / (end.atMs - start.atMs);
    return {
      sentBitsPerSecond: rate(start.sentBytes, end.sentBytes),
      receivedBitsPerSecond: rate(start.receivedBytes, end.receivedBytes),
      // received headers would be missing
      isSegmented: !lab.segmentation,
      wasFull,
    };
  } finally {
    const exit = new Promise((resolve) => client.once('exit', resolve));
    client.kill('SIGKILL');
    await exit;
  }
}

function look(lab: NetworkLab) {
  const startMs = performance.now();
  const sent = lab.sent('router', lab.near);
  const received = receivedBytes(lab, 'peer', lab.far);
  return {
    // both were read within a fraction of a millisecond
    atMs: (startMs + performance.now()) / 2,
    sentBytes: sent.sentBytes,
    receivedBytes: received,
  };
}

/** Payload in bits a second by iperf3's own account. */
export function goodput(lab: NetworkLab, traffic: Traffic, seconds: number, port = PORT): number {
  const report = JSON.parse(lab.run('router', 'iperf3', ...iperf(traffic, seconds, port)));
  return report.end.sum_received?.bits_per_second ?? report.end.sum.bits_per_second;
}
