import { describe, expect, it } from 'vitest';
import { CommandLost } from '../../hosts/vmx/tclo.ts';
import { createVmx } from '../../hosts/vmx/vmx.ts';
import { openChannel, PROTOCOL, STEP } from './channel-user.ts';

const NOTHING = Buffer.alloc(0);

function guest(now = 0) {
  const clock = { now };
  const vmx = createVmx({ now: () => clock.now });
  const channel = openChannel(vmx, PROTOCOL.TCLO);
  return { vmx, channel, clock };
}

describe('TCLO (section 4)', () => {
  it('gives one command at a time and takes the next message as its reply', async () => {
    const { vmx, channel } = guest();
    const first = vmx.command('ping');
    const second = vmx.command(Buffer.from('Vix \0\x01', 'latin1'));
    channel.send(NOTHING);
    expect(channel.receive()?.toString()).toBe('ping');
    expect(channel.receive()).toBeUndefined();
    channel.send(Buffer.from('OK '));
    expect(await first).toMatchObject({ ok: true, text: '' });
    expect(channel.receive()).toEqual(Buffer.from('Vix \0\x01', 'latin1'));
    channel.send(Buffer.from('ERROR Unknown Command'));
    expect(await second).toMatchObject({ ok: false, text: 'Unknown Command' });
  });

  it('records the polls', () => {
    const { vmx, channel, clock } = guest();
    for (const now of [0, 10, 30]) {
      clock.now = now;
      channel.send(NOTHING);
      expect(channel.receive()).toBeUndefined();
    }
    expect(vmx.tclo.pollsMs).toEqual([0, 10, 30]);
  });

  it('fails a command whose reply never comes, is no reply, or whose channel goes', async () => {
    const { vmx, channel } = guest();
    const unheard = vmx.command('ping', { timeoutMs: 10 });
    await expect(unheard).rejects.toThrow(CommandLost);
    expect(channel.receive()).toBeUndefined();

    const slow = vmx.command('ping', { timeoutMs: 10 });
    channel.receive();
    await expect(slow).rejects.toThrow('within 10 ms');
    channel.send(Buffer.from('OK too late'));

    const garbled = vmx.command('ping');
    channel.receive();
    channel.send(Buffer.from('yes'));
    await expect(garbled).rejects.toThrow('neither OK nor ERROR');

    const cut = vmx.command('ping');
    channel.receive();
    channel.step(STEP.CLOSE);
    await expect(cut).rejects.toThrow('closed the channel');
    expect(vmx.tclo.connected).toBe(false);
  });

  it('keeps commands for the next session, and serves the newest only', async () => {
    const { vmx, channel: old } = guest();
    const reply = vmx.command('ping');
    const fresh = openChannel(vmx, PROTOCOL.TCLO);
    await vmx.tclo.session(2);
    old.send(NOTHING);
    expect(old.receive()).toBeUndefined();
    expect(fresh.receive()?.toString()).toBe('ping');
    fresh.send(Buffer.from('OK '));
    expect((await reply).ok).toBe(true);
  });

  it('brings a guest up in the order of section 4.2', async () => {
    const { vmx, channel } = guest();
    const seen: string[] = [];
    const up = vmx.bringUp({ options: { synctime: '0' } });
    while (seen.at(-1) !== 'OS_PowerOn') {
      const command = channel.receive()?.toString();
      if (command !== undefined) {
        seen.push(command);
        channel.send(Buffer.from('OK '));
      }
      await Promise.resolve();
    }
    await up;
    expect(seen).toEqual(['reset', 'Capabilities_Register', 'Set_Option synctime 0', 'OS_PowerOn']);
  });
});
