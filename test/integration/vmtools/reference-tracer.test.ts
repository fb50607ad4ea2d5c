/** The tracer (test/hosts/vmx/tracer): what it leaves alone, and its guard. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startVmxBench, tracingMissing, type VmxBench } from '../../support/vmx.ts';

const missing = tracingMissing();
if (missing !== undefined) console.log(`skipped: ${missing}`);

describe.skipIf(missing !== undefined)('the tracer', () => {
  let bench: VmxBench;
  beforeAll(async () => {
    bench = await startVmxBench();
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  const run = async (...argv: [string, ...string[]]) => {
    const from = bench.vmx.system.events.length;
    const program = bench.trace(argv);
    const status = await program.ended;
    return { status, output: program.output(), events: bench.vmx.system.events.slice(from) };
  };

  it.each([
    ['exit 7', 7],
    ['(exit 3) || exit $(( $? + 1 ))', 4],
    ['kill -SEGV $$', 128 + 11],
    ['kill -ILL $$', 128 + 4],
    ['sleep 0.1 & wait $!', 0],
  ])('passes the status of %j on', async (script, status) => {
    expect((await run('sh', '-c', script)).status).toBe(status);
  });

  it('tells of programs', async () => {
    const { events } = await run('sh', '-c', 'true; exec sleep 0');
    expect(events).toMatchObject([
      { kind: 'executed', argv: ['sh', '-c', 'true; exec sleep 0'] },
      { kind: 'executed', argv: ['sleep', '0'] },
      { kind: 'ended', waitStatus: 0 },
    ]);
  });

  it('forwards a signal', async () => {
    const script = 'trap "echo got it; exit 5" TERM; echo ready; while :; do sleep 0.05; done';
    const program = bench.trace(['sh', '-c', script]);
    await expect.poll(() => program.output(), { timeout: 15_000 }).toContain('ready');
    program.kill('SIGTERM');
    expect(await program.ended).toBe(5);
    expect(program.output()).toContain('got it');
  });

  it('keeps the clock', async () => {
    const { status, events } = await run('date', '--set', '2001-02-03 04:05:06 UTC');
    expect(status).toBe(0);
    expect(events).toContainEqual({
      kind: 'clock-set',
      pid: expect.any(Number),
      us: BigInt(Date.UTC(2001, 1, 3, 4, 5, 6)) * 1000n,
    });
    expect(new Date().getFullYear()).toBeGreaterThan(2020);
  });

  it('freezes nothing, with the result that the test wants', async () => {
    const { freezeResults } = bench.vmx.system;
    freezeResults.set(bench.directory, 0);
    expect(await run('fsfreeze', '--freeze', bench.directory)).toMatchObject({ status: 0 });
    // would hang if it were frozen
    writeFileSync(join(bench.directory, 'still-writable'), '');
    freezeResults.set(bench.directory, -16);
    const { status, output, events } = await run('fsfreeze', '--freeze', bench.directory);
    expect(status).not.toBe(0);
    expect(output).toMatch(/busy/);
    expect(events).toContainEqual({
      kind: 'freeze',
      pid: expect.any(Number),
      path: bench.directory,
      result: -16,
    });
  });

  it.each([['shutdown -h now'], ['/sbin/reboot'], ['exec poweroff'], ['systemctl reboot']])(
    'does not run %j',
    async (script) => {
      // whether it is installed or not
      const stub = join(bench.directory, 'bin');
      const setup = 'mkdir -p "$1"; for p in shutdown poweroff systemctl; do ln -sf /bin/false "$1/$p"; done';
      await run('sh', '-c', setup, 'sh', stub);
      const { status, events } = await run('sh', '-c', `PATH=${stub}; ${script}`);
      expect(status).toBe(0);
      expect(events.map(({ kind }) => kind)).toContain('shutdown');
    },
  );
});
