/** Requests and replies, and the channel that is kept (spec vmware.md section 3). */
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { ChannelLost, RpcRefused } from '../../../src/protocols/vmtools/channel-errors.ts';
import {
  decodeReply,
  encodeRequest,
  keepRpci,
  openRpciChannel,
  type RpciExchange,
  requestOnce,
} from '../../../src/protocols/vmtools/rpci.ts';
import { STATUS } from '../../hosts/vmx/registers.ts';
import { done } from '../../hosts/vmx/rpci.ts';
import { createVmx } from '../../hosts/vmx/vmx.ts';
import { simulatedBackdoor } from '../../support/simulated-backdoor.ts';

describe('a request', () => {
  it.each<[string | Buffer, boolean | undefined, string]>([
    ['ping', undefined, 'ping\0'],
    ['ping', true, 'ping\0'],
    ['ping', false, 'ping'],
    [Buffer.from('SetGuestInfo  10 x'), undefined, 'SetGuestInfo  10 x'],
    [Buffer.from('x'), true, 'x\0'],
    ['', false, ''],
  ])('%j with nul %s is %j', (request, nul, expected) => {
    expect(encodeRequest(request, nul).toString()).toBe(expected);
  });
});

describe('a reply', () => {
  it.each(['1 ', '1 value', '1 a\nb\0c', '1  two blanks'])('%j is a result', (reply) => {
    expect(decodeReply(Buffer.from(reply)).toString()).toBe(reply.slice(2));
  });
  it.each(['0 ', '0 No value found'])('%j is a refusal', (reply) => {
    expect(() => decodeReply(Buffer.from(reply))).toThrow(RpcRefused);
    expect(() => decodeReply(Buffer.from(reply))).toThrow(
      expect.objectContaining({ message: reply.slice(2) }),
    );
  });
  it.each(['', '1', '0', '1x', '0x', '2 ', ' 1 ', 'OK ', '10 '])('%j is a broken channel', (reply) => {
    expect(() => decodeReply(Buffer.from(reply))).toThrow(
      expect.objectContaining({ name: 'ChannelLost', step: 'reply' }),
    );
  });
});

function simulated() {
  const vmx = createVmx();
  vmx.rpci.handle('echo', ({ args }) => done(args));
  const backdoor = simulatedBackdoor(vmx.backdoor);
  const openings: (string | null)[] = [];
  const rpci = keepRpci(async (kept) => {
    openings.push(kept === null ? 'open' : 'kept');
    return kept ?? openRpciChannel(backdoor);
  });
  const texts = () => vmx.rpci.calls.map(({ text }) => text);
  return { vmx, backdoor, rpci, openings, texts };
}

describe('one-shot', () => {
  it('opens, asks without NUL, closes', async () => {
    const { vmx, backdoor } = simulated();
    expect(String(await requestOnce(backdoor, 'echo a  b '))).toBe('a  b ');
    await expect(requestOnce(backdoor, 'nonsense')).rejects.toThrow('Unknown command');
    expect(vmx.rpci.calls.map(({ endsWithNul }) => endsWithNul)).toEqual([false, false]);
    expect(vmx.channels.open()).toEqual([]);
  });

  it('does not repeat what failed', async () => {
    const { vmx, backdoor, texts } = simulated();
    vmx.channels.inject({ step: 'SENDSIZE', status: 0 });
    await expect(requestOnce(backdoor, 'echo')).rejects.toMatchObject({ step: 'send' });
    vmx.channels.inject({ step: 'RECVSIZE', status: 0 });
    await expect(requestOnce(backdoor, 'echo')).rejects.toMatchObject({ step: 'receive' });
    expect(texts()).toEqual(['echo']);
    expect(vmx.channels.open()).toEqual([]);
  });
});

describe('the kept channel', () => {
  it('is opened by the first request and serves them in order', async () => {
    const { vmx, rpci, texts } = simulated();
    expect(vmx.channels.open()).toEqual([]);
    const all = ['one', 'two', 'three'].map((word) => rpci.request(`echo ${word}`));
    expect((await Promise.all(all)).map(String)).toEqual(['one', 'two', 'three']);
    expect(texts()).toEqual(['echo one', 'echo two', 'echo three']);
    expect(vmx.rpci.calls.every(({ endsWithNul, privileged }) => endsWithNul && !privileged)).toBe(true);
    expect(vmx.steps.get('RPCI OPEN')).toBe(1);
  });

  it('stays after a refusal, and asks with privilege when told to', async () => {
    const { vmx, rpci } = simulated();
    await expect(rpci.request('nonsense')).rejects.toBeInstanceOf(RpcRefused);
    await rpci.request('echo', { privileged: true });
    await rpci.request('echo');
    expect(vmx.rpci.calls.map(({ privileged }) => privileged)).toEqual([false, true, false]);
    expect(vmx.steps.get('RPCI OPEN')).toBe(1);
  });

  it('that the host forgot is replaced, and the request sent over the new one', async () => {
    const { vmx, rpci, texts } = simulated();
    await rpci.request('echo 1');
    vmx.revert();
    expect(String(await rpci.request('echo 2'))).toBe('2');
    expect(texts()).toEqual(['echo 1', 'echo 2']);
    expect(vmx.channels.open()).toHaveLength(1);
  });

  it('is lost when the host takes nothing twice', async () => {
    const { vmx, rpci, texts } = simulated();
    vmx.channels.inject({ step: 'SENDSIZE', status: 0, times: 2 });
    await expect(rpci.request('echo 1')).rejects.toBeInstanceOf(ChannelLost);
    expect(String(await rpci.request('echo 2'))).toBe('2');
    expect(texts()).toEqual(['echo 2']);
  });

  it.each(['RECVSIZE', 'INSB', 'RECVSTATUS'] as const)(
    'does not repeat what the host may have seen: lost at %s',
    async (step) => {
      const { vmx, rpci, texts } = simulated();
      vmx.channels.inject({ step, status: 0 });
      await expect(rpci.request('echo 1')).rejects.toMatchObject({ step: 'receive' });
      expect(String(await rpci.request('echo 2'))).toBe('2');
      expect(texts()).toEqual(['echo 1', 'echo 2']);
      expect(vmx.channels.open()).toHaveLength(1);
    },
  );

  it('is opened anew after reopen', async () => {
    const { vmx, rpci, openings } = simulated();
    await rpci.request('echo');
    await Promise.all([rpci.request('echo'), rpci.reopen(), rpci.request('echo')]);
    expect(openings).toEqual(['open', 'kept', 'open']);
    expect(vmx.channels.open()).toHaveLength(1);
  });

  it('is closed for good, after the request under way', async () => {
    let answer: (reply: Buffer) => void = () => {};
    const closes: string[] = [];
    const exchange: RpciExchange = {
      exchange: () => new Promise((resolve) => (answer = resolve)),
      close: () => void closes.push('closed'),
    };
    const rpci = keepRpci(async () => exchange);
    const first = rpci.request('one');
    const second = rpci.request('two');
    second.catch(() => {});
    await turn();
    const closed = rpci.close();
    expect(closes).toEqual([]);
    answer(Buffer.from('1 done'));
    expect(String(await first)).toBe('done');
    await expect(second).rejects.toBeInstanceOf(ChannelLost);
    await closed;
    expect(closes).toEqual(['closed']);
    await expect(rpci.request('three')).rejects.toBeInstanceOf(ChannelLost);
  });

  it('survives checkpoints in the middle of a request', async () => {
    const { vmx, rpci, texts } = simulated();
    for (const step of ['OUTSB', 'INSB', 'RECVSTATUS'] as const) {
      vmx.channels.inject({ step, status: STATUS.CPT, times: 2 });
      expect(String(await rpci.request(`echo ${step}`))).toBe(step);
    }
    expect(texts()).toEqual(['echo OUTSB', 'echo INSB', 'echo RECVSTATUS']);
  });
});
