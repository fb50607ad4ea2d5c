/**
 * The upload limit on a veth pair between two network namespaces: p10 beside the same tbf written by hand, and at free what
 * the queue below the limit does to a conversation and a download while an upload fills it.
 */
import { readFileSync } from 'node:fs';
import {
  createNetworkLab,
  labIsPossible,
  type NetworkLab,
  roundTrips,
  startEcho,
} from '../../test/support/network-lab.ts';
import { startShaper } from '../../test/support/shaper-process.ts';
import { goodput, startIperfServer, startUpload, uploadIsPossible } from '../../test/support/upload.ts';
import { type Row, spreadOf } from '../row.ts';
import { alternate, type BenchCase, type BenchContext } from '../sides.ts';

/** The sizes that the shaper chooses. */
const BY_HAND = ['rate', '10gbit', 'burst', '10000000', 'limit', '12500000'];
const AT_FREE = ['rate', '1mbit', 'burst', '6256', 'limit', '25024'];
const LEAVES = [['fq_codel'], ['bfifo', 'limit', '25024'], ['pfifo', 'limit', '16']];

interface Sample {
  readonly gigabits: number;
  /** Of all processors, for a gigabyte of payload. */
  readonly cpuMs: number;
}

export const shaper: BenchCase = {
  name: 'shaper',
  about: 'the license limit: p10 beside a tbf by hand, and the queue below the limit at free',
  explanation: ['"alone" is without any limit; the machine has to send and to receive'],
  isGuarded: false,
  async run(context) {
    if (context.targetsOnly || !labIsPossible || !uploadIsPossible) return [];
    return [...(await uploadRows(context)), ...(await leafRows(context))];
  },
};

async function withLab<T>(use: (lab: NetworkLab) => Promise<T>): Promise<T> {
  const lab = await createNetworkLab({ segmentation: true });
  try {
    await startIperfServer(lab);
    return await use(lab);
  } finally {
    await lab.close();
  }
}

function uploadRows({ rounds, effort }: BenchContext): Promise<Row[]> {
  return withLab(async (lab) => {
    const seconds = effort === 'full' ? 5 : 2;
    const process = await startShaper(lab, 'p-unlimited', lab.near);
    const free = async () => {
      process.tell('p-unlimited');
      await process.show();
      removeRoot(lab);
    };
    const rows: Row[] = [];
    for (const flows of [1, 8]) {
      await free();
      const alone = Array.from({ length: Math.min(rounds, 3) }, () => sample(lab, flows, seconds));
      const samples = await alternate(rounds, [{ side: 'ours' }, { side: 'theirs' }], async ({ side }) => {
        await free();
        if (side === 'ours') process.tell('p10');
        else lab.run('router', 'tc', 'qdisc', 'replace', 'dev', lab.near, 'root', 'tbf', ...BY_HAND);
        await process.show();
        return sample(lab, flows, seconds);
      });
      const row = (
        name: string,
        unit: string,
        better: Row['better'],
        figure: (one: Sample) => number,
      ): Row => ({
        name: `${name}, ${flows === 1 ? 'one flow' : `${flows} flows`}`,
        unit,
        better,
        ours: spreadOf(samples.ours.map(figure)),
        peer: { name: 'tc by hand', spread: spreadOf((samples.theirs ?? []).map(figure)) },
        clientAlone: spreadOf(alone.map(figure)).median,
        target: null,
        note: '',
      });
      rows.push(
        row('p10: TCP payload', 'Gbit/s', 'higher', ({ gigabits }) => gigabits),
        row('p10: CPU for a gigabyte', 'ms', 'lower', ({ cpuMs }) => cpuMs),
      );
    }
    return rows;
  });
}

function leafRows({ rounds, effort }: BenchContext): Promise<Row[]> {
  return withLab(async (lab) => {
    await startEcho(lab);
    const seconds = effort === 'full' ? 5 : 2;
    const rows: Row[] = [];
    for (const leaf of LEAVES) {
      removeRoot(lab);
      const tc = (...args: string[]) => lab.run('router', 'tc', 'qdisc', ...args);
      tc('add', 'dev', lab.near, 'root', 'handle', '1:', 'tbf', ...AT_FREE);
      try {
        tc('replace', 'dev', lab.near, 'parent', '1:1', 'handle', '2:', ...leaf);
      } catch {
        // this kernel does not have it
        continue;
      }
      const times: number[] = [];
      const downloads: number[] = [];
      for (let round = 0; round < rounds; round += 1) {
        await using upload = await startUpload(lab, { flows: 8 });
        times.push(spreadOf(roundTrips(lab, effort === 'full' ? 50 : 20, 100)).median);
        downloads.push(goodput(lab, { flows: 1, isDownload: true }, seconds, upload.otherPort) / 1e6);
      }
      const row = (name: string, unit: string, better: Row['better'], values: number[]): Row => ({
        name: `free, ${leaf.join(' ')}: ${name} during an upload of 8 flows`,
        unit,
        better,
        ours: spreadOf(values),
        peer: null,
        clientAlone: null,
        target: null,
        note: '',
      });
      rows.push(row('echo', 'ms', 'lower', times), row('download', 'Mbit/s', 'higher', downloads));
    }
    return rows;
  });
}

function sample(lab: NetworkLab, flows: number, seconds: number): Sample {
  const before = busyMs();
  const bitsPerSecond = goodput(lab, { flows }, seconds);
  const gigabytes = (bitsPerSecond * seconds) / 8e9;
  return { gigabits: bitsPerSecond / 1e9, cpuMs: (busyMs() - before) / gigabytes };
}

/** Of all processors together. */
function busyMs(): number {
  const [, ...ticks] = (readFileSync('/proc/stat', 'latin1').split('\n', 1)[0] ?? '').split(/\s+/);
  const [user = 0, nice = 0, system = 0, , , interrupts = 0, softInterrupts = 0] = ticks.map(Number);
  return (user + nice + system + interrupts + softInterrupts) * 10;
}

function removeRoot(lab: NetworkLab): void {
  if (lab.qdiscs('router', lab.near).some(({ handle }) => handle !== 0))
    lab.run('router', 'tc', 'qdisc', 'del', 'dev', lab.near, 'root');
}
