/** Time synchronisation by the real system calls, which the tracer answers in the place of the kernel (spec vmware.md section 10). */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  openVmToolsMissing,
  startVmxBench,
  type TracedProgram,
  tracingMissing,
  type VmxBench,
} from '../../support/vmx.ts';

const GUEST = new URL('time-sync-process.ts', import.meta.url).pathname;
const TIMEOUT = { timeoutMs: 30_000 };
const SECOND_US = 1_000_000n;
const HOUR_SECONDS = 3600;

const missing = tracingMissing();
if (missing !== undefined) console.log(`skipped: ${missing}`);

describe.skipIf(missing !== undefined)('time synchronisation', () => {
  let bench: VmxBench;
  let program: TracedProgram;
  beforeAll(async () => {
    bench = await startVmxBench();
    program = bench.trace([process.execPath, '--no-warnings', GUEST], { rewrite: ['chr-agent.node'] });
    await bench.vmx.command('ping', TIMEOUT);
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  /** The guest's clock is this one's, so it is the host that is away. @param seconds guest less host */
  function guestIsAhead(seconds: number): void {
    const awayUs = BigInt(seconds) * SECOND_US;
    bench.vmx.host.clock.nowUs = () => BigInt(Date.now()) * 1000n - awayUs;
  }

  /** What it did to the clock at a command. */
  async function done(command: string) {
    const from = bench.vmx.system.events.length;
    const stopped = bench.vmx.host.stopCatchUps;
    expect((await bench.vmx.command(command, TIMEOUT)).ok).toBe(true);
    const events = bench.vmx.system.events.slice(from);
    return {
      set: events.flatMap((event) => (event.kind === 'clock-set' ? [event.us] : [])),
      ticks: events.flatMap((event) =>
        event.kind === 'clock-adjusted' && event.modes === 0x4000 ? [Number(event.tick)] : [],
      ),
      stopCatchUps: bench.vmx.host.stopCatchUps - stopped,
    };
  }

  function expectNear(us: bigint | undefined, seconds: number): void {
    const wanted = BigInt(Date.now()) * 1000n - BigInt(seconds) * SECOND_US;
    expect(Math.abs(Number((us ?? 0n) - wanted))).toBeLessThan(10_000_000);
  }

  it.each([-HOUR_SECONDS, -1])('%d s: stepped forward', async (seconds) => {
    guestIsAhead(seconds);
    const { set, ticks, stopCatchUps } = await done('Time_Synchronize 0');
    expect([set.length, ticks, stopCatchUps]).toEqual([1, [], 1]);
    expectNear(set[0], seconds);
  });

  it('+3 s: slewed, never stepped; its own rate again when that is over', async () => {
    guestIsAhead(3);
    expect(await done('Time_Synchronize 0')).toEqual({ set: [], ticks: [9_950], stopCatchUps: 0 });
    guestIsAhead(0);
    expect(await done('Time_Synchronize 0')).toMatchObject({ set: [], ticks: [10_000] });
  });

  it.each([6, HOUR_SECONDS])('+%d s: nothing, one log line', async (seconds) => {
    guestIsAhead(0);
    await done('Time_Synchronize 0');
    const lines = () => program.output().match(/left as it is/g)?.length ?? 0;
    const before = lines();
    guestIsAhead(seconds);
    for (let again = 0; again < 2; again += 1)
      expect(await done('Time_Synchronize 0')).toEqual({ set: [], ticks: [], stopCatchUps: 0 });
    await expect.poll(lines, { timeout: 10_000 }).toBe(before + 1);
  });

  it('+1 h: stepped back when the host asks for that', async () => {
    guestIsAhead(HOUR_SECONDS);
    const { set, stopCatchUps } = await done('Time_Synchronize 1');
    expect([set.length, stopCatchUps]).toEqual([1, 1]);
    expectNear(set[0], HOUR_SECONDS);
  });

  it('periodically once the host switches it on', async () => {
    guestIsAhead(-HOUR_SECONDS);
    await bench.vmx.command('Set_Option synctime.period 1', TIMEOUT);
    const { set } = await done('Set_Option synctime 1');
    expect(set).toHaveLength(1);
    const from = bench.vmx.system.events.length;
    // the tracer keeps the clock, so it is behind at the next time too
    await bench.vmx.system.wait('clock-set', () => true, { from, timeoutMs: 30_000 });
    await bench.vmx.command('Set_Option synctime 0', TIMEOUT);
  });

  it('leaves the clock at its own rate when it ends', async () => {
    guestIsAhead(2);
    expect((await done('Time_Synchronize 0')).ticks).toHaveLength(1);
    const from = bench.vmx.system.events.length;
    program.kill('SIGTERM');
    expect(await program.ended).toBe(0);
    const last = bench.vmx.system.events.slice(from).findLast((event) => event.kind === 'clock-adjusted');
    expect(last).toMatchObject({ modes: 0x4000, tick: 10_000n });
  });
});

describe.skipIf(openVmToolsMissing() !== undefined)('upstream, beside open-vm-tools', () => {
  it('answers and decides alike', async () => {
    await using theirs = await startVmxBench();
    await using ours = await startVmxBench();
    theirs.startToolsDaemon({ configuration: '[guestinfo]\npoll-interval=0\nstats-interval=0\n' });
    ours.trace([process.execPath, '--no-warnings', GUEST, 'upstream'], { rewrite: ['chr-agent.node'] });
    const outcomes: unknown[][] = [];
    for (const { vmx } of [theirs, ours]) {
      const told: unknown[] = [];
      await vmx.tclo.session(1, TIMEOUT.timeoutMs);
      await vmx.command('reset', TIMEOUT);
      const ask = async (command: string, seconds: number) => {
        vmx.host.clock.nowUs = () => BigInt(Date.now()) * 1000n - BigInt(seconds * 1e6);
        const from = vmx.system.events.length;
        const { text } = await vmx.command(command, TIMEOUT);
        const sets = vmx.system.events
          .slice(from)
          .flatMap((event) =>
            event.kind === 'clock-set' ? [Number(event.us) / 1e6 - Date.now() / 1000] : [],
          );
        told.push([command, seconds, text, sets.map(Math.sign), vmx.host.stopCatchUps]);
      };
      for (const seconds of [-3600, -2, -0.5, 3, 6, 3600]) {
        await ask('Time_Synchronize 0', seconds);
        await ask('Time_Synchronize 1', seconds);
      }
      for (const argument of ['', ' ', ' x', ' -1', ' 1x', ' 2', ' 1 1'])
        await ask(`Time_Synchronize${argument}`, -0.5);
      await ask('Set_Option time.synchronize.tools.startup 1', -10);
      await ask('Set_Option time.synchronize.tools.startup 1', -10);
      await ask('TimeInfo_Update', -0.5);
      // there is no NTP service
      await ask('Set_Option time.synchronize.guest.resync.timeout 1000', -0.5);
      await ask('Set_Option time.synchronize.guest.resync 1', -0.5);
      for (const seconds of [-3600, 3600])
        for (const backward of [0, 1]) await ask(`Time_Synchronize ${backward}`, seconds);
      outcomes.push(told);
    }
    expect(outcomes[1]).toEqual(outcomes[0]);
  });
});
