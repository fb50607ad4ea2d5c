/** A host that breaks off, storms or talks nonsense (spec vmware.md sections 2 to 4): the session comes back, and no work is done in vain. */
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import { createHostLink } from '../../../src/protocols/vmtools/host-link.ts';
import { accepted } from '../../../src/protocols/vmtools/rpc.ts';
import { createSession } from '../../../src/protocols/vmtools/session.ts';
import { createTell } from '../../../src/protocols/vmtools/tell.ts';
import { parseToolsConf } from '../../../src/protocols/vmtools/tools-conf.ts';
import { toolsVersion } from '../../../src/protocols/vmtools/tools-version.ts';
import type { Protocol, Step } from '../../hosts/vmx/channels.ts';
import { STATUS } from '../../hosts/vmx/registers.ts';
import { done } from '../../hosts/vmx/rpci.ts';
import { createVmx, type Vmx, type VmxOptions } from '../../hosts/vmx/vmx.ts';
import { recordingLog } from '../../support/quiet-log.ts';
import { simulatedBackdoor } from '../../support/simulated-backdoor.ts';

/** A session at a host, in a time that only its own waits move. */
function startSession(options: VmxOptions = {}) {
  const vmx = createVmx(options);
  vmx.rpci.handle('echo', ({ args }) => done(args));
  const log = recordingLog();
  let nowMs = 0;
  const { rpci, tclo } = createHostLink({
    backdoor: simulatedBackdoor(vmx.backdoor),
    connectVsocket: null,
    log,
    clock: {
      nowMs: () => nowMs,
      async wait(timeMs) {
        nowMs += timeMs;
        await turn();
      },
    },
  });
  const tell = createTell(rpci, log);
  const session = createSession({
    rpci,
    tell,
    log,
    gate: createFreezeGate(),
    version: toolsVersion('0.1.0'),
    configurationDirectory: '/etc/vmware-tools',
    toolsConf: { read: async () => parseToolsConf(Buffer.alloc(0), log) },
    uptimeHundredths: () => 100,
    parts: [
      {
        commands: {
          // asks the host while the host waits, as many do
          async relay(argument) {
            await tell(Buffer.concat([Buffer.from('echo '), argument]));
            return accepted(argument);
          },
        },
      },
    ],
  });
  const stop = new AbortController();
  const served = tclo.serve(session.handler, stop.signal);
  return {
    vmx,
    log,
    nowMs: () => nowMs,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await served;
      await rpci.close();
    },
  };
}

const stepsIn = ({ steps }: Vmx) => [...steps.values()].reduce((sum, count) => sum + count, 0);

const STEPS: readonly Step[] = [
  'OPEN',
  'SENDSIZE',
  'OUTSB',
  'SENDPAYLOAD',
  'RECVSIZE',
  'INSB',
  'RECVPAYLOAD',
  'RECVSTATUS',
];
const PROTOCOLS: readonly Protocol[] = ['RPCI', 'TCLO'];
const STATUSES = [0, STATUS.CPT, STATUS.CLOSED, STATUS.UNSENT, STATUS.POWEROFF, STATUS.TIMEOUT];

type Event =
  | { kind: 'fault'; step: Step; protocol: Protocol; status: number; times: number; after: number }
  | { kind: 'revert' }
  | { kind: 'command'; bytes: Uint8Array };

const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({
    kind: fc.constant('fault' as const),
    step: fc.constantFrom(...STEPS),
    protocol: fc.constantFrom(...PROTOCOLS),
    status: fc.constantFrom(...STATUSES),
    times: fc.integer({ min: 1, max: 3 }),
    after: fc.integer({ min: 0, max: 4 }),
  }),
  fc.constant({ kind: 'revert' as const }),
  fc.record({
    kind: fc.constant('command' as const),
    bytes: fc.oneof(
      fc
        .constantFrom('reset', 'ping', 'Capabilities_Register', 'relay x', 'Set_Option ', '  ', '\0')
        .map(Buffer.from),
      fc.uint8Array({ maxLength: 40 }),
    ),
  }),
);

describe('whatever a host does', () => {
  it('it finds a session with both channels when it is well again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 8 }), fc.boolean(), async (events, highBandwidth) => {
        await using it = startSession({ highBandwidth: () => highBandwidth });
        const { vmx } = it;
        await vmx.tclo.session();
        for (const each of events) {
          if (each.kind === 'fault') vmx.channels.inject(each);
          else if (each.kind === 'revert') vmx.revert();
          // an answer is an answer; a command may be lost with its channel
          else
            await vmx
              .command(Buffer.from(each.bytes))
              .catch((error: Error) => expect(error.name).toBe('CommandLost'));
        }
        let text = '';
        // each fault that is left costs a try at most
        for (let tries = 0; tries < 60 && text !== 'ATR toolbox'; tries += 1)
          text = await vmx.command('reset').then(
            (reply) => reply.text,
            () => '',
          );
        expect(text).toBe('ATR toolbox');
        const isWell = () => vmx.rpci.calls.at(-1)?.text === 'echo well' && vmx.channels.open().length === 2;
        for (let tries = 0; tries < 60 && !isWell(); tries += 1)
          await vmx.command('relay well').catch(() => undefined);
        expect(isWell()).toBe(true);
        expect(stepsIn(vmx)).toBeLessThan(20_000);
      }),
      { numRuns: 150 },
    );
  });
});

describe('a host that fails for ever', () => {
  it.each<[Step, number]>([
    ['OPEN', 0],
    ['SENDSIZE', 0],
    ['SENDSIZE', STATUS.CPT],
    ['RECVSIZE', STATUS.CLOSED],
    ['RECVSIZE', STATUS.CPT],
  ])('at %s (status %d) is asked once a second, and the log has one line', async (step, status) => {
    await using it = startSession();
    it.vmx.channels.inject({ step, status, times: Number.POSITIVE_INFINITY });
    it.vmx.revert();
    while (it.nowMs() < 600_000) await turn();
    // open, a message of nothing, close
    expect(stepsIn(it.vmx)).toBeLessThan(600 * 5 + 10);
    expect(it.log.lines.filter((line) => line.startsWith('warning'))).toHaveLength(1);
  });

  it.concurrent.each<[Step, boolean]>([
    ['INSB', true],
    ['RECVPAYLOAD', false],
    ['RECVSTATUS', true],
  ])('with checkpoints at %s costs eight attempts a second', async (step, highBandwidth) => {
    await using it = startSession({ highBandwidth: () => highBandwidth });
    await it.vmx.tclo.session();
    it.vmx.channels.inject({ step, status: STATUS.CPT, times: Number.POSITIVE_INFINITY, protocol: 'TCLO' });
    const lost = it.vmx.command('ping', { timeoutMs: 2_000 }).catch((error: Error) => error.name);
    const sessions = it.vmx.tclo.sessions;
    while (it.vmx.tclo.sessions < sessions + 3) await turn();
    expect(it.nowMs()).toBeGreaterThanOrEqual(3_000);
    expect(it.vmx.steps.get(`TCLO ${step}`)).toBeLessThanOrEqual(4 * 8);
    expect(await lost).toBe('CommandLost');
  });
});

describe('a command with binary data', () => {
  it('cut off anywhere is answered, and the session goes on', async () => {
    await using it = startSession();
    const { vmx } = it;
    const whole = Buffer.concat([
      Buffer.from('Vix_1_Relayed_Command "req"\0'),
      Buffer.alloc(51, 0xff),
      Buffer.from('vmbackup.startWithOpts '),
    ]);
    for (let length = 0; length <= whole.length; length += 1) {
      const { bytes } = await vmx.command(whole.subarray(0, length));
      expect(bytes.toString()).toMatch(/^(OK|ERROR) /);
    }
    expect(vmx.tclo.sessions).toBe(1);
  });
});
