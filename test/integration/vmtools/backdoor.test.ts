/**
 * The real instructions outside VMware: they are survived, beside WebAssembly's traps and on any thread, and real crashes
 * stay crashes (spec vmware.md section 1.1).
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMPILE_CACHE } from '../../support/compile-cache.ts';

const program = new URL('fault-steps.ts', import.meta.url).pathname;
let folder: string;

/** Constructors that crash when the library is loaded. */
const CRASHES = {
  segv: '*(volatile int *)8 = 0;',
  ill: '__asm__ volatile("ud2");',
  // the very instruction, but not at the addon's place
  port: '__asm__ volatile("inl %%dx, %%eax" : : "a"(0x564d5868), "b"(0xa9b2a797), "c"(10), "d"(0x5658));',
  // a user of the same address space who jumps: the fault is no instruction fetch of ours
  jump: '((void (*)(void))0x10)();',
};
const library = (name: keyof typeof CRASHES) => join(folder, `${name}.so`);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'backdoor-'));
  for (const [name, statement] of Object.entries(CRASHES)) {
    const source = join(folder, `${name}.c`);
    writeFileSync(source, `__attribute__((constructor)) static void crash(void) { ${statement} }\n`);
    execFileSync('gcc', ['-w', '-O1', '-shared', '-fPIC', '-o', join(folder, `${name}.so`), source]);
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

function run(...steps: string[]) {
  const script = 'ulimit -c 0; exec "$0" "$@"';
  const { stdout, signal, status, stderr } = spawnSync(
    'sh',
    ['-c', script, process.execPath, '--no-warnings', program, ...steps],
    { encoding: 'utf8', cwd: folder, env: { ...process.env, ...COMPILE_CACHE } },
  );
  return { lines: stdout.split('\n').slice(0, -1), signal, status, stderr };
}

describe('outside VMware', () => {
  it.each<[string, string[], string[]]>([
    ['a probe alone', ['probe', 'probe'], ['no-vmware', 'no-vmware']],
    [
      'after a trap of WebAssembly',
      ['wasm', 'probe', 'wasm', 'probe'],
      ['trapped', 'no-vmware', 'trapped', 'no-vmware'],
    ],
    ['before one', ['probe', 'wasm', 'probe', 'wasm'], ['no-vmware', 'trapped', 'no-vmware', 'trapped']],
    ['on a worker first', ['worker', 'probe', 'wasm'], ['no-vmware+trapped', 'no-vmware', 'trapped']],
    ['on three threads at once', ['threads', 'probe'], ['no-vmware+trapped', 'no-vmware']],
  ])('%s', (_what, steps, lines) => {
    expect(run(...steps)).toEqual({ lines, signal: null, status: 0, stderr: '' });
  });
});

describe('a real fault still kills', () => {
  it.each<[string, string, keyof typeof CRASHES, string[][]]>([
    ['a wild pointer', 'SIGSEGV', 'segv', [[], ['probe'], ['wasm', 'threads']]],
    ['an invalid instruction', 'SIGILL', 'ill', [[], ['probe', 'wasm']]],
    ['a privileged instruction elsewhere', 'SIGSEGV', 'port', [['wasm', 'probe']]],
    ['a wild jump', 'SIGSEGV', 'jump', [['probe']]],
  ])('%s: %s', (_what, signal, name, histories) => {
    for (const before of histories)
      expect(run(...before, `load=${library(name)}`)).toMatchObject({
        signal,
        lines: before.map(() => expect.any(String)),
      });
  });

  it.each(['SIGSEGV', 'SIGILL'])('as does %s sent by somebody', (signal) => {
    for (const before of [[], ['probe', 'wasm']])
      expect(run(...before, `kill=${signal}`)).toMatchObject({
        signal,
        lines: before.map(() => expect.any(String)),
      });
  });
});
