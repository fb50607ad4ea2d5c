import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { highHalf, STATUS } from '../../hosts/vmx/registers.ts';
import { createVmx } from '../../hosts/vmx/vmx.ts';
import { openChannel, PROTOCOL, STEP } from './channel-user.ts';

const rpc = (text: string) => Buffer.from(text);

describe('GuestMsg channels (section 2)', () => {
  it('gives a channel with a cookie, and one without to a guest that wishes none', () => {
    const vmx = createVmx({ random: () => 0.5 });
    const first = openChannel(vmx, PROTOCOL.RPCI).opened;
    expect(highHalf(first.cx)).toBe(STATUS.SUCCESS);
    expect(highHalf(first.dx)).toBe(0);
    expect([first.si, first.di]).toEqual([0x80000000, 0x80000000]);
    const second = openChannel(vmx, PROTOCOL.TCLO, { cookie: false }).opened;
    expect(highHalf(second.cx)).toBe(STATUS.SUCCESS);
    expect(highHalf(second.dx)).toBe(1);
    expect(vmx.channels.open()).toEqual([
      { id: 0, protocol: 'RPCI' },
      { id: 1, protocol: 'TCLO' },
    ]);
  });

  it('refuses a cookie where the host has none', () => {
    const vmx = createVmx({ cookies: false });
    expect(highHalf(openChannel(vmx, PROTOCOL.RPCI).opened.cx)).toBe(0);
    const plain = openChannel(vmx, PROTOCOL.RPCI, { cookie: false });
    expect(plain.send(rpc('machine.id.get'))).toBe(null);
    expect(plain.receive()?.toString()).toBe('0 No machine id');
  });

  it('has few channels, and leaks those that are never closed', () => {
    const vmx = createVmx({ maxChannels: 2 });
    const first = openChannel(vmx, PROTOCOL.RPCI);
    openChannel(vmx, PROTOCOL.RPCI);
    expect(highHalf(openChannel(vmx, PROTOCOL.RPCI).opened.cx)).toBe(0);
    expect(first.step(STEP.CLOSE).status).toBe(STATUS.SUCCESS);
    expect(vmx.channels.open()).toHaveLength(1);
    expect(highHalf(openChannel(vmx, PROTOCOL.RPCI).opened.cx)).toBe(STATUS.SUCCESS);
  });

  it('does not close for a channel of before a revert the one that has its number now', () => {
    const vmx = createVmx();
    const old = openChannel(vmx, PROTOCOL.RPCI);
    vmx.revert();
    openChannel(vmx, PROTOCOL.TCLO);
    expect(old.step(STEP.CLOSE).status).toBe(0);
    expect(vmx.channels.open()).toEqual([{ id: 0, protocol: 'TCLO' }]);
  });

  it('knows RPCI and TCLO only', () => {
    expect(highHalf(openChannel(createVmx(), 0x12345678).opened.cx)).toBe(0);
  });

  it.each([
    ['low bandwidth', false],
    ['high bandwidth', true],
  ])('carries any message by %s', (_name, highBandwidth) => {
    const vmx = createVmx({ highBandwidth: () => highBandwidth });
    const channel = openChannel(vmx, PROTOCOL.RPCI);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (bytes) => {
        expect(channel.send(Buffer.from(bytes))).toBe(null);
        expect(vmx.rpci.calls.at(-1)?.bytes.equals(bytes)).toBe(true);
        expect(channel.receive()?.toString()).toMatch(/^[01] /);
      }),
      { numRuns: 50 },
    );
  });

  it.each([
    ['SENDPAYLOAD', false],
    ['RECVPAYLOAD', false],
    ['RECVSTATUS', false],
    ['OUTSB', true],
    ['INSB', true],
    ['RECVSTATUS', true],
  ] as const)('starts a message again after a checkpoint at %s', (step, highBandwidth) => {
    const vmx = createVmx({ highBandwidth: () => highBandwidth });
    vmx.machineId = 'a machine';
    const channel = openChannel(vmx, PROTOCOL.RPCI);
    vmx.channels.inject({ step, status: STATUS.CPT });
    const sending = step === 'SENDPAYLOAD' || step === 'OUTSB';
    expect(channel.send(rpc('machine.id.get'))).toBe(sending ? STATUS.CPT : null);
    if (sending) expect(channel.send(rpc('machine.id.get'))).toBe(null);
    else channel.receive();
    expect(channel.receive()?.toString()).toBe('1 a machine');
    expect(vmx.rpci.calls).toHaveLength(1);
  });

  it('is dead after a failure without a checkpoint, until it is closed and opened again', () => {
    const vmx = createVmx();
    vmx.channels.inject({ step: 'SENDSIZE', status: 0, after: 1 });
    const channel = openChannel(vmx, PROTOCOL.RPCI);
    expect(channel.send(rpc('machine.id.get'))).toBe(null);
    expect(channel.send(rpc('machine.id.get'))).toBe(0);
    expect(channel.send(rpc('machine.id.get'))).toBe(0);
    expect(channel.step(STEP.CLOSE).status).toBe(STATUS.SUCCESS);
    expect(openChannel(vmx, PROTOCOL.RPCI).send(rpc('machine.id.get'))).toBe(null);
  });

  it.each([
    ['a payload without a size', STEP.SENDPAYLOAD, 0],
    ['a receipt of nothing', STEP.RECVSTATUS, 1],
    ['a payload of nothing', STEP.RECVPAYLOAD, 1],
    ['an unknown step', 7, 0],
  ])('fails %s', (_name, step, bx) => {
    expect(openChannel(createVmx(), PROTOCOL.RPCI).step(step, bx).status).toBe(0);
  });

  it('wants the cookie, and the length that was announced', () => {
    const vmx = createVmx({ random: () => 0.25 });
    const channel = openChannel(vmx, PROTOCOL.RPCI);
    channel.step(STEP.SENDSIZE, 4);
    expect(channel.sendBlock(Buffer.alloc(5))).toBe(0);
    const stranger = { ...channel.opened, si: 1, di: 2, cx: (STEP.SENDSIZE << 16) | 30 };
    expect(highHalf(vmx.backdoor.lowBandwidth(stranger, false)?.cx ?? -1)).toBe(0);
  });

  it('drops a reply that the guest refuses', () => {
    const vmx = createVmx({ highBandwidth: () => false });
    const channel = openChannel(vmx, PROTOCOL.RPCI);
    channel.send(rpc('machine.id.get'));
    expect(channel.step(STEP.RECVSIZE).status & STATUS.DORECV).not.toBe(0);
    expect(channel.step(STEP.RECVPAYLOAD, 0).status).toBe(STATUS.SUCCESS);
    expect(channel.step(STEP.RECVSIZE).status & STATUS.DORECV).toBe(0);
  });

  it('forgets everything at a revert', () => {
    const vmx = createVmx();
    const channel = openChannel(vmx, PROTOCOL.RPCI);
    vmx.revert();
    expect(channel.send(rpc('machine.id.get'))).toBe(0);
    expect(vmx.channels.open()).toEqual([]);
  });
});
