/** Channels of messages against a simulated host, a broken one and a mad one (spec vmware.md section 2). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BackdoorNative } from '../../../src/protocols/vmtools/backdoor.ts';
import { probeBackdoor } from '../../../src/protocols/vmtools/backdoor.ts';
import { ChannelLost } from '../../../src/protocols/vmtools/channel-errors.ts';
import {
  type MessageChannel,
  openMessageChannel,
  RPCI_PROTOCOL,
  TCLO_PROTOCOL,
} from '../../../src/protocols/vmtools/message-channel.ts';
import { createBackdoorHost, lowBandwidthCall } from '../../hosts/vmx/backdoor-calls.ts';
import { type ChannelService, createChannels, type Step } from '../../hosts/vmx/channels.ts';
import { STATUS } from '../../hosts/vmx/registers.ts';
import { simulatedBackdoor } from '../../support/simulated-backdoor.ts';

const LIMIT = 64 * 1024;

/** A host that keeps what is sent and gives it back. */
function echoHost(
  options: { highBandwidth?: (size: number) => boolean; cookies?: boolean; maxChannels?: number } = {},
) {
  const steps: Step[] = [];
  const sent: Buffer[] = [];
  const offered: Buffer[] = [];
  const service: ChannelService = {
    opened: () => {},
    sent(message) {
      sent.push(message);
      offered.push(message);
    },
    offer: () => offered[0],
    taken: () => void offered.shift(),
    refused: () => void offered.shift(),
    closed: () => {},
  };
  const channels = createChannels(
    { RPCI: service, TCLO: service },
    {
      maxChannels: 8,
      cookies: true,
      highBandwidth: () => true,
      random: Math.random,
      onStep: (step) => steps.push(step),
      ...options,
    },
  );
  const host = createBackdoorHost();
  const backdoor = simulatedBackdoor({
    lowBandwidth: (call, privileged) => lowBandwidthCall(host, channels, call, privileged),
    highBandwidthOut: (call, bytes, privileged) => channels.sendBlock(call, bytes, privileged),
    highBandwidthIn: (call) => channels.receiveBlock(call),
    cpuid: (_leaf, machine) => machine,
  });
  return { backdoor, channels, steps, sent, offered };
}

const pauses: number[] = [];
const pause = async (timeMs: number) => void pauses.push(timeMs);
const open = (backdoor: Parameters<typeof openMessageChannel>[0], maxMessageBytes = LIMIT): MessageChannel =>
  openMessageChannel(backdoor, RPCI_PROTOCOL, { maxMessageBytes, pause });

const transports = [
  ['high bandwidth', {}],
  ['word by word', { highBandwidth: () => false }],
  ['a mix', { highBandwidth: (size: number) => size % 2 === 0 }],
  ['no cookies', { cookies: false }],
] as const;

describe.each(transports)('messages, %s', (_name, options) => {
  it('arrive as they were sent', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 6 }), async (messages) => {
        const { backdoor, channels, sent } = echoHost(options);
        const channel = open(backdoor);
        for (const bytes of messages) {
          const message = Buffer.from(bytes);
          await channel.send(message);
          expect(await channel.receive()).toEqual(message);
        }
        expect(sent).toEqual(messages.map((bytes) => Buffer.from(bytes)));
        expect(await channel.receive()).toBeNull();
        channel.close();
        expect(channels.open()).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });

  it('of the greatest length', async () => {
    const channel = open(echoHost(options).backdoor);
    const message = Buffer.alloc(LIMIT, 'long');
    await channel.send(message);
    expect(await channel.receive()).toEqual(message);
  });
});

describe('the steps', () => {
  it.each<[string, { highBandwidth?: () => boolean }, string, string[]]>([
    ['high bandwidth', {}, 'hello', ['SENDSIZE', 'OUTSB', 'RECVSIZE', 'INSB', 'RECVSTATUS']],
    [
      'words',
      { highBandwidth: () => false },
      'hello',
      ['SENDSIZE', 'SENDPAYLOAD', 'SENDPAYLOAD', 'RECVSIZE', 'RECVPAYLOAD', 'RECVPAYLOAD', 'RECVSTATUS'],
    ],
    ['nothing', {}, '', ['SENDSIZE', 'RECVSIZE', 'RECVSTATUS']],
  ])('of a message: %s', async (_name, options, text, expected) => {
    const { backdoor, steps } = echoHost(options);
    const channel = open(backdoor);
    await channel.send(Buffer.from(text));
    await channel.receive();
    channel.close();
    channel.close();
    expect(steps).toEqual(['OPEN', ...expected, 'CLOSE']);
  });

  it('of opening: again without a cookie, then no channel', () => {
    const { backdoor, steps } = echoHost({ cookies: false });
    open(backdoor);
    expect(steps).toEqual(['OPEN', 'OPEN']);
    const full = echoHost({ maxChannels: 1 });
    open(full.backdoor);
    expect(() => open(full.backdoor)).toThrow(expect.objectContaining({ name: 'ChannelLost', step: 'open' }));
    expect(full.steps).toEqual(['OPEN', 'OPEN', 'OPEN']);
  });
});

describe('checkpoints', () => {
  const places: [Step, boolean][] = [
    ['OUTSB', true],
    ['INSB', true],
    ['SENDPAYLOAD', false],
    ['RECVPAYLOAD', false],
    ['RECVSTATUS', true],
    ['RECVSTATUS', false],
  ];

  it.each(places)('at %s start the message again (high bandwidth: %s)', async (step, highBandwidth) => {
    for (const after of [0, 1]) {
      const { backdoor, channels, sent } = echoHost({ highBandwidth: () => highBandwidth });
      channels.inject({ step, status: STATUS.CPT, times: 3, after });
      const channel = open(backdoor);
      for (const text of ['first message', 'second message']) {
        await channel.send(Buffer.from(text));
        expect(String(await channel.receive())).toBe(text);
      }
      expect(sent.map(String)).toEqual(['first message', 'second message']);
      expect(channels.open()).toHaveLength(1);
    }
  });

  it.each(places)(
    'without end at %s end the channel, after pauses (high bandwidth: %s)',
    async (step, highBandwidth) => {
      const { backdoor, channels } = echoHost({ highBandwidth: () => highBandwidth });
      channels.inject({ step, status: STATUS.CPT, times: Number.POSITIVE_INFINITY });
      const channel = open(backdoor);
      pauses.length = 0;
      const exchange = async () => {
        await channel.send(Buffer.from('message'));
        await channel.receive();
      };
      await expect(exchange()).rejects.toThrow(ChannelLost);
      expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 64]);
      expect(channels.open()).toEqual([]);
    },
  );

  it('close of the channel meanwhile ends the attempts', async () => {
    const { backdoor, channels, steps } = echoHost();
    channels.inject({ step: 'OUTSB', status: STATUS.CPT, times: Number.POSITIVE_INFINITY });
    const channel: MessageChannel = openMessageChannel(backdoor, TCLO_PROTOCOL, {
      maxMessageBytes: LIMIT,
      pause: async () => channel.close(),
    });
    await expect(channel.send(Buffer.from('message'))).rejects.toThrow('the channel is closed');
    expect(steps.filter((step) => step === 'OUTSB')).toHaveLength(1);
  });
});

describe('failures', () => {
  it.each<[Step, boolean, number]>([
    ['SENDSIZE', true, 0],
    ['SENDSIZE', true, STATUS.CPT],
    ['OUTSB', true, STATUS.CLOSED],
    ['SENDPAYLOAD', false, 0],
    ['RECVSIZE', true, STATUS.POWEROFF],
    ['RECVSIZE', true, STATUS.CPT],
    ['INSB', true, STATUS.TIMEOUT],
    ['RECVPAYLOAD', false, STATUS.UNSENT],
    ['RECVSTATUS', true, 0],
  ])(
    'at %s are not retried and close the channel (high bandwidth: %s, status %d)',
    async (step, high, status) => {
      const { backdoor, channels, steps } = echoHost({ highBandwidth: () => high });
      channels.inject({ step, status });
      const channel = open(backdoor);
      const exchange = async () => {
        await channel.send(Buffer.from('message'));
        await channel.receive();
      };
      await expect(exchange()).rejects.toMatchObject({
        name: 'ChannelLost',
        step: /SEND|OUT/.test(step) ? 'send' : 'receive',
      });
      expect(steps.filter((each) => each === step)).toHaveLength(1);
      expect(steps.at(-1)).toBe('CLOSE');
      expect(channels.open()).toEqual([]);
      await expect(channel.send(Buffer.of())).rejects.toThrow(ChannelLost);
      await expect(channel.receive()).rejects.toThrow(ChannelLost);
    },
  );

  it('a message over the limit is refused', async () => {
    for (const highBandwidth of [() => true, () => false]) {
      const { backdoor, channels, offered } = echoHost({ highBandwidth });
      const channel = open(backdoor, 10);
      offered.push(Buffer.alloc(11));
      await expect(channel.receive()).rejects.toThrow('a message of 11 bytes');
      expect(channels.open()).toEqual([]);
    }
  });
});

describe('a mad host', () => {
  const register = fc.oneof(
    fc.constantFrom(
      0,
      1,
      2,
      0x1e,
      0x1_001e,
      0x3_001e,
      0x83_001e,
      0x10_001e,
      0x1_0000,
      0x2_5658,
      8,
      0xffffffff,
    ),
    fc.integer({ min: 0, max: 0xffffffff }),
  );
  const answers = fc.array(fc.tuple(register, register, register, register, register, register, register), {
    maxLength: 60,
  });

  it('gets no more than an error and a bounded number of calls', async () => {
    await fc.assert(
      fc.asyncProperty(answers, fc.uint8Array({ maxLength: 40 }), async (script, message) => {
        let calls = 0;
        let at = 0;
        const next = (registers: Uint32Array) => {
          calls += 1;
          registers.set(script[at++ % Math.max(script.length, 1)] ?? [0, 0, 0, 0, 0, 0, 0]);
          return true;
        };
        const native: BackdoorNative = {
          cpuid: () => [0, 0, 0, 0],
          setIoPrivilege: () => 0,
          backdoorCall: (_how, registers) => {
            if (calls > 0) return next(registers);
            calls = 1;
            registers.set([6, 0x564d5868, 2, 0, 0, 0, 0]);
            return true;
          },
          backdoorRead: (_how, registers) => next(registers),
          backdoorWrite: (_how, registers) => next(registers),
        };
        const backdoor = probeBackdoor(native);
        if (backdoor === null) throw new Error('not recognised');
        try {
          const channel = open(backdoor, 200);
          await channel.send(Buffer.from(message));
          const received = await channel.receive();
          expect(received?.length ?? 0).toBeLessThanOrEqual(200);
        } catch (error) {
          expect(error).toBeInstanceOf(ChannelLost);
        }
        expect(calls).toBeLessThan(1000);
      }),
      { numRuns: 500 },
    );
  });
});
