/** Drives test/integration/shaper/shaper.fixture.ts: a shaper that runs in a lab's router. */
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Level } from '../../src/license/levels.ts';
import type { ShaperStatus } from '../../src/shaper/shaper-status.ts';
import { type NetworkLab, until } from './network-lab.ts';

const FIXTURE = fileURLToPath(new URL('../integration/shaper/shaper.fixture.ts', import.meta.url));

type Line = { ready: true } | { severity: string; text: string } | { status: ShaperStatus };

export interface ShaperProcess {
  readonly log: readonly string[];
  tell(command: Level | 'freeze' | 'thaw' | 'tick'): void;
  show(): Promise<Extract<ShaperStatus, { state: 'on' }>>;
  kill(): Promise<void>;
}

export async function startShaper(
  lab: NetworkLab,
  level: Level | 'unknown',
  ...patterns: string[]
): Promise<ShaperProcess> {
  const child = lab.start('router', process.execPath, [FIXTURE, level, ...patterns], 'pipe');
  const log: string[] = [];
  const shown: ShaperStatus[] = [];
  let isReady = false;
  if (child.stdout === null) throw new Error('no stdout');
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line = JSON.parse(text) as Line;
    if ('ready' in line) isReady = true;
    else if ('status' in line) shown.push(line.status);
    else log.push(`${line.severity}: ${line.text}`);
  });
  await until(() => isReady, 'the shaper did not start');
  const tell = (command: string) => child.stdin?.write(`${command}\n`);
  return {
    log,
    tell,
    async show() {
      const before = shown.length;
      tell('show');
      await until(() => shown.length > before, 'no status');
      const status = shown.at(-1);
      if (status?.state !== 'on') throw new Error('the shaper is off');
      return status;
    },
    async kill() {
      const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      child.kill('SIGKILL');
      await exit;
    },
  };
}
