/**
 * A process that does what its arguments say, one after the other, and tells what came of it: `probe` the backdoor, trap in `wasm`,
 * both in a `worker` or in `threads` at once, `kill` itself, or `load=FILE` a library whose constructor crashes.
 */
import { constants } from 'node:os';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { native } from '../../../src/native/index.ts';
import { probeBackdoor } from '../../../src/protocols/vmtools/backdoor.ts';

/** (func (export "load") (param i32) (result i32) local.get 0, i32.load) with one page of memory. */
const MODULE = Buffer.from(
  '0061736d0100000001060160017f017f030201000503010001070801046c6f616400000a0901070020002802000b',
  'hex',
);

/** As far as it is used; the types of Node.js have no values for it. */
interface WasmEngine {
  readonly Module: new (code: Uint8Array) => object;
  readonly Instance: new (module: object) => { exports: { load(address: number): number } };
  readonly RuntimeError: new () => Error;
}
const engine: WasmEngine = Reflect.get(globalThis, 'WebAssembly');

const OUT_OF_BOUNDS = 0x7fff_0000;

/** Executes every form of the instruction, whatever CPUID says. */
function probe(): string {
  const registers = () => Uint32Array.of(0x564d5868, 0xa9b2a797, 10, 0x5658, 0, 0, 0);
  const block = Buffer.alloc(10_000);
  const answers = [
    probeBackdoor(native) !== null,
    ...([0, 1, 2] as const).map((how) => native.backdoorCall(how, registers())),
    native.backdoorRead(0, Uint32Array.of(0x564d5868, 0x10000, 0, 0x5659, 0, 0, 0), block, 0, block.length),
    native.backdoorWrite(0, Uint32Array.of(0x564d5868, 0x10000, 0, 0x5659, 0, 0, 0), block, 1, 9_000),
  ];
  return answers.some((answer) => answer) ? 'vmware' : 'no-vmware';
}

function trapInWasm(): string {
  const { load } = new engine.Instance(new engine.Module(MODULE)).exports;
  if (load(0) !== 0) return 'wrong';
  try {
    load(OUT_OF_BOUNDS);
    return 'no-trap';
  } catch (error) {
    return error instanceof engine.RuntimeError ? 'trapped' : 'wrong';
  }
}

const ROUNDS = 200;

/** Both kinds of fault, over and over. */
function both(): string {
  const outcomes = new Set<string>();
  for (let round = 0; round < ROUNDS; round += 1) outcomes.add(`${probe()}+${trapInWasm()}`);
  return [...outcomes].join();
}

function inWorker(): Promise<string> {
  const worker = new Worker(new URL(import.meta.url), { workerData: 'both' });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

async function act(step: string): Promise<string> {
  const [name, argument = ''] = step.split('=');
  switch (name) {
    case 'probe':
      return probe();
    case 'wasm':
      return trapInWasm();
    case 'worker':
      return inWorker();
    case 'threads': {
      const others = [inWorker(), inWorker()];
      const mine = both();
      return [...new Set([mine, ...(await Promise.all(others))])].join();
    }
    case 'kill':
      process.kill(process.pid, argument);
      // a signal to the process may be taken by another thread
      await new Promise((resolve) => setTimeout(resolve, 10_000));
      return 'alive';
    case 'load':
      process.dlopen({ exports: {} }, argument, constants.dlopen.RTLD_NOW);
      return 'alive';
    default:
      return 'what?';
  }
}

if (isMainThread) {
  for (const step of process.argv.slice(2)) process.stdout.write(`${await act(step)}\n`);
} else if (workerData === 'both') {
  parentPort?.postMessage(both());
}
