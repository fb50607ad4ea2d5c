/** The daemon itself in the tracer's guest, in the place of vmtoolsd. It may not do what could hurt the machine. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GuestOptions, TracedProgram, VmxBench } from './vmx.ts';

const MAIN = new URL('../../src/agent/main.ts', import.meta.url).pathname;

/** @param vmtools lines for that table of agent.toml */
export function startTracedAgent(bench: VmxBench, guest: GuestOptions = {}, vmtools = ''): TracedProgram {
  const config = join(bench.directory, 'agent.toml');
  const off = ['qemu-ga', 'xenstore', 'shaper'].map((name) => `[${name}]\nenabled = false\n`).join('');
  writeFileSync(
    config,
    `[agent]\nruntime-dir = "${bench.directory}/run"\nstate-dir = "${bench.directory}/state"\n${off}
[vmtools]\nenabled = true\n${vmtools}\n`,
  );
  return bench.startInGuest(
    ['env', 'CHR_AGENT_NO_ACTIONS=1', process.execPath, '--no-warnings', MAIN, 'run', '--config', config],
    { ...guest, rewrite: ['chr-agent.node'] },
  );
}
