/** One boot of the small guest with what was measured in it, as a table. */
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Image, projectDir } from '../image/image.ts';
import { Vm } from '../image/vm.ts';
import { Agent } from './agent.ts';
import { Loads, type Steps } from './loads.ts';
import { type Memory, readMemory } from './memory.ts';

/** Reports of the last runs. */
const cacheDir = path.resolve(process.env.CHR_APPLIANCE_DIR ?? path.join(projectDir, '.cache/appliance'));
/** After it an idle agent has given its memory back. */
const SETTLE_MS = 5_000;

export class Trial {
  readonly vm: Vm;
  readonly agent: Agent;
  readonly loads: Loads;
  readonly #dir: string;
  readonly #title: string;
  readonly #rows: string[] = [];
  #rootReadMib = 0;

  private constructor(vm: Vm, dir: string, title: string) {
    this.vm = vm;
    this.#dir = dir;
    this.agent = new Agent(vm.channel);
    this.loads = new Loads(this.agent);
    this.#title = title;
  }

  static async boot(image: Image, memoryMib: number): Promise<Trial> {
    const dir = await mkdtemp(path.join(tmpdir(), 'chr-trial-'));
    const disk = path.join(dir, 'disk.img');
    await copyFile(image.disk, disk);
    const hardware = { bus: 'virtio-blk', nic: 'virtio-net-pci' } as const;
    try {
      return new Trial(await Vm.boot({ hardware, disk, memoryMib }), dir, `-m ${memoryMib}`);
    } catch (error) {
      await rm(dir, { recursive: true, force: true });
      throw error;
    }
  }

  /** Does something, and takes down its seconds and the memory right after it. */
  async measure(name: string, action: () => Promise<Steps>): Promise<Memory> {
    this.agent.slowestMs = 0;
    const cpuBefore = this.vm.cpuSeconds();
    const steps = await action();
    const cpu = this.vm.cpuSeconds() - cpuBefore;
    const slowest = this.agent.slowestMs / 1000;
    const memory = await readMemory(this.agent);
    const times = [...steps].map(([step, seconds]) => `${step} ${seconds.toFixed(1)} s`).join(', ');
    const seconds = [slowest, cpu].map((value) => `${value.toFixed(1)} s`);
    const reread = (memory.rootReadMib - this.#rootReadMib).toFixed(1);
    this.#rootReadMib = memory.rootReadMib;
    this.#rows.push(row([name, times, ...seconds, ...memoryCells(memory), reread]));
    return memory;
  }

  /** As `measure` of nothing, a moment later. */
  async settle(name: string): Promise<Memory> {
    return await this.measure(name, async () => {
      await sleep(SETTLE_MS);
      return new Map();
    });
  }

  /** Takes down something that has no figures. */
  note(name: string, what: unknown): void {
    this.#rows.push(row([name, what instanceof Error ? what.message : String(what)]));
  }

  /** Prints the table, keeps it in the cache, and ends the guest. */
  async close(): Promise<void> {
    await this.vm.close();
    await rm(this.#dir, { recursive: true, force: true });
    const heads = ['step', 'times', 'slowest answer', "QEMU's CPU time"];
    heads.push('peak RSS', 'private dirty', 'guest free', 'available', 'read from root');
    const lines = [`${this.#title} (MiB)`, '', row(heads), row(heads.map(() => '---')), ...this.#rows];
    const text = `${lines.join('\n')}\n`;
    console.log(`\n${text}`);
    await mkdir(cacheDir, { recursive: true });
    await writeFile(path.join(cacheDir, `report${this.#title.replace(' ', '')}.md`), text);
  }
}

function memoryCells(memory: Memory): string[] {
  return [memory.peakResidentMib, memory.privateDirtyMib, memory.freeMib, memory.availableMib].map((mib) =>
    mib.toFixed(1),
  );
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}
