/** Vsocket or backdoor, loss and return of the channels (spec vmware.md sections 3, 4 and 13), against a simulated host. */
import { type Duplex, duplexPair } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import {
  createBackoff,
  createHostLink,
  type VsocketConnector,
} from '../../../src/protocols/vmtools/host-link.ts';
import { accepted } from '../../../src/protocols/vmtools/rpc.ts';
import { commandTable } from '../../../src/protocols/vmtools/tclo-commands.ts';
import { createPacketReader, encodePacket } from '../../../src/protocols/vmtools/vsocket-packet.ts';
import { done } from '../../hosts/vmx/rpci.ts';
import { createVmx, type Vmx } from '../../hosts/vmx/vmx.ts';
import { recordingLog } from '../../support/quiet-log.ts';
import { simulatedBackdoor } from '../../support/simulated-backdoor.ts';

/** Waits are over at once, but let everything else run; time moves by them. */
function fastClock() {
  let nowMs = 0;
  const waits: number[] = [];
  return {
    waits,
    nowMs: () => nowMs,
    advance(timeMs: number) {
      nowMs += timeMs;
    },
    async wait(timeMs: number) {
      waits.push(timeMs);
      nowMs += timeMs;
      await turn();
    },
  };
}

function linkTo(vmx: Vmx, connectVsocket: VsocketConnector | null = null) {
  vmx.rpci.handle('echo', ({ args }) => done(args));
  const clock = fastClock();
  const log = recordingLog();
  const states: string[] = [];
  const link = createHostLink({
    backdoor: simulatedBackdoor(vmx.backdoor),
    connectVsocket,
    log,
    clock,
    onState: (state, kind) => void states.push(`${state} ${kind}`),
  });
  const stop = new AbortController();
  const resets: string[] = [];
  const serve = () =>
    link.tclo.serve(
      commandTable({ echo: async (argument) => accepted(argument) }, async () => {
        resets.push('reset');
        await link.rpci.reopen();
      }),
      stop.signal,
    );
  return { clock, log, states, link, stop, resets, serve };
}

/** A vsocket service: each packet's payload through `answer`. */
function service(answer: (payload: Buffer, stream: Duplex) => Buffer | null): {
  stream: Duplex;
  host: Duplex;
} {
  const [guest, host] = duplexPair();
  const reader = createPacketReader(2 ** 20);
  host.on('error', () => {});
  host.on('data', (chunk: Buffer) => {
    for (const packet of reader.push(chunk)) {
      if (packet.kind === 'ping') continue;
      const payload = answer(packet.payload, host);
      if (payload !== null) host.write(encodePacket({ kind: 'data', payload, fastClose: false }));
    }
  });
  return { stream: guest, host };
}

const hangUp = (_payload: Buffer, stream: Duplex) => {
  stream.end();
  return null;
};

const rpciService = (vmx: Vmx) =>
  service((payload) => vmx.rpci.answer(payload, { privileged: true, transport: 'vsocket' }));

describe('TCLO over the backdoor', () => {
  it('serves commands, and closes its channel at the end', async () => {
    const vmx = createVmx();
    const { serve, stop, states } = linkTo(vmx);
    const served = serve();
    expect(await vmx.command('ping')).toMatchObject({ ok: true, text: '' });
    expect(await vmx.command('echo a b')).toMatchObject({ ok: true, text: 'a b' });
    expect(await vmx.command('what')).toMatchObject({ ok: false, text: 'Unknown Command' });
    stop.abort();
    await served;
    expect(states).toEqual(['connected backdoor']);
    expect(vmx.channels.open()).toEqual([]);
  });

  it('opens another channel 1 s after a loss, and says so once', async () => {
    const vmx = createVmx();
    const { serve, stop, states, clock, log, resets, link } = linkTo(vmx);
    const served = serve();
    await link.rpci.request('echo 1');
    await vmx.command('ping');
    vmx.channels.inject({ step: 'OPEN', protocol: 'TCLO', status: 0, times: 4 });
    vmx.revert();
    expect(await vmx.command('reset')).toMatchObject({ text: 'ATR toolbox' });
    expect(String(await link.rpci.request('echo 2'))).toBe('2');
    expect(resets).toEqual(['reset']);
    expect(clock.waits.filter((timeMs) => timeMs === 1000)).toHaveLength(3);
    expect(states).toEqual([
      'connected backdoor',
      'waiting backdoor',
      'waiting backdoor',
      'waiting backdoor',
      'connected backdoor',
    ]);
    expect(log.lines.map((line) => line.replace(/:.*/, ''))).toEqual(['warning', 'debug', 'debug', 'info']);
    stop.abort();
    await served;
  });

  it('takes a command again that a checkpoint interrupted', async () => {
    const vmx = createVmx();
    const { serve, stop } = linkTo(vmx);
    const served = serve();
    for (const step of ['INSB', 'OUTSB', 'RECVSTATUS'] as const) {
      vmx.channels.inject({ step, protocol: 'TCLO', status: 0x10, times: 2 });
      expect(await vmx.command(`echo ${step}`)).toMatchObject({ text: step });
    }
    expect(vmx.tclo.sessions).toBe(1);
    stop.abort();
    await served;
  });
});

describe('RPCI', () => {
  it('goes over the vsocket where there is one', async () => {
    const vmx = createVmx();
    const { link } = linkTo(vmx, async () => rpciService(vmx).stream);
    expect(String(await link.rpci.request('echo x'))).toBe('x');
    expect(vmx.rpci.calls.map(({ transport }) => transport)).toEqual(['vsocket']);
    expect(vmx.channels.open()).toEqual([]);
    await link.rpci.close();
  });

  it('uses the backdoor for 4, 8 … 300 s after a failure, then tries again', async () => {
    const vmx = createVmx();
    const triesAtMs: number[] = [];
    let isOffered = false;
    const { link, clock } = linkTo(vmx, async () => {
      triesAtMs.push(clock.nowMs());
      return isOffered ? rpciService(vmx).stream : null;
    });
    for (let second = 0; second < 1200; second += 1) {
      await link.rpci.request('echo');
      clock.advance(1000);
    }
    expect(triesAtMs.map((timeMs) => timeMs / 1000)).toEqual([0, 4, 12, 28, 60, 124, 252, 508, 808, 1108]);
    expect(vmx.steps.get('RPCI OPEN')).toBe(1);
    isOffered = true;
    clock.advance(300_000);
    await link.rpci.request('echo');
    expect(vmx.rpci.calls.at(-1)?.transport).toBe('vsocket');
    expect(vmx.channels.open()).toEqual([]);
    await link.rpci.close();
  });

  it('sends a request over the backdoor that a mute vsocket service did not answer', async () => {
    const vmx = createVmx();
    const { link } = linkTo(vmx, async () => service(hangUp).stream);
    expect(String(await link.rpci.request('echo x'))).toBe('x');
    expect(String(await link.rpci.request('echo y'))).toBe('y');
    expect(vmx.rpci.calls.map(({ transport }) => transport)).toEqual(['backdoor', 'backdoor']);
    await link.rpci.close();
  });
});

describe('TCLO over the vsocket', () => {
  it('is preferred, and the backdoor takes over when it breaks', async () => {
    const vmx = createVmx();
    let tries = 0;
    const replies: string[] = [];
    let breakIt: () => void = () => {};
    const { serve, stop, states } = linkTo(vmx, async () => {
      tries += 1;
      const { stream, host } = service((payload) => {
        replies.push(String(payload));
        return null;
      });
      host.write(encodePacket({ kind: 'data', payload: Buffer.from('echo hello'), fastClose: false }));
      breakIt = () => host.destroy();
      return stream;
    });
    const served = serve();
    await vi.waitFor(() => expect(replies).toEqual(['OK hello']));
    expect(vmx.channels.open()).toEqual([]);
    breakIt();
    expect(await vmx.command('echo again')).toMatchObject({ text: 'again' });
    stop.abort();
    await served;
    expect(tries).toBe(1);
    expect(states).toEqual(['connected vsocket', 'waiting vsocket', 'connected backdoor']);
  });

  it('that cannot be had costs no time', async () => {
    const vmx = createVmx();
    const { serve, stop, clock } = linkTo(vmx, async () => null);
    const served = serve();
    await vmx.command('ping');
    expect(clock.waits.every((timeMs) => timeMs < 1000)).toBe(true);
    stop.abort();
    await served;
  });
});

describe('the back-off', () => {
  it('starts anew when something has worked', () => {
    let nowMs = 0;
    const backoff = createBackoff(() => nowMs);
    expect(backoff.isOver()).toBe(true);
    for (const waitMs of [4000, 8000, 16000]) {
      backoff.failed();
      nowMs += waitMs - 1;
      expect(backoff.isOver()).toBe(false);
      nowMs += 1;
      expect(backoff.isOver()).toBe(true);
    }
    backoff.worked();
    backoff.failed();
    nowMs += 4000;
    expect(backoff.isOver()).toBe(true);
  });
});
