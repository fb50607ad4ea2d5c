/** Told once, whole again after a reset, in older forms where the newest is refused (spec vmware.md sections 6.3 to 6.7). */
import { beforeEach, describe, expect, it } from 'vitest';
import { ChannelLost } from '../../../../src/protocols/vmtools/channel-errors.ts';
import type { NicReport } from '../../../../src/protocols/vmtools/guest-info/nics.ts';
import { createSender, type Sender } from '../../../../src/protocols/vmtools/guest-info/sender.ts';
import { done } from '../../../hosts/vmx/rpci.ts';
import type { Vmx } from '../../../hosts/vmx/vmx.ts';
import { hostRpci } from './host-rpci.ts';

let vmx: Vmx;
let sender: Sender;
beforeEach(() => {
  const host = hostRpci();
  vmx = host.vmx;
  sender = createSender(host.rpci);
});

/** What has been sent since the last time, as types. */
let seen = 0;
beforeEach(() => {
  seen = 0;
});
function sent(): string[] {
  const calls = vmx.rpci.calls.slice(seen);
  seen += calls.length;
  return calls.map(({ text }) => /^SetGuestInfo {2}(\d+) /.exec(text)?.[1] ?? text.split(' ', 1)[0] ?? '');
}

const NAMES = { shortName: 'debian12-64', fullName: 'Linux' };
const DISKS = [{ mountPoint: '/', type: 'ext4', freeBytes: 1n, sizeBytes: 2n, devices: [] }];
const report = (lastByte = 1): NicReport => ({
  nics: [
    {
      name: 'eth0',
      mac: '02:00:5e:00:53:01',
      addresses: [{ bytes: Buffer.of(192, 0, 2, lastByte), prefixLength: 24 }],
    },
  ],
  routes: [],
  dns: null,
});

describe('values', () => {
  it('have two blanks before the type; text ends in NUL, binary data does not', async () => {
    await sender.text(1, 'guest.example');
    await sender.binary(8, Buffer.of(1, 2));
    expect(vmx.rpci.calls.map(({ bytes }) => bytes.toString('latin1'))).toEqual([
      'SetGuestInfo  1 guest.example\0',
      'SetGuestInfo  8 \u0001\u0002',
    ]);
  });

  it('are sent when they have changed', async () => {
    for (const text of ['a', 'a', 'b', 'a']) await sender.text(1, text);
    expect(vmx.rpci.calls.map(({ args }) => args)).toEqual([' 1 a', ' 1 b', ' 1 a']);
  });

  it('and all of them after a reset', async () => {
    await sender.text(1, 'a');
    sender.forget();
    await sender.text(1, 'a');
    expect(sent()).toEqual(['1', '1']);
  });

  it('that were refused, or answered with more than nothing, count as not sent', async () => {
    vmx.rpci.refuse({ request: 'SetGuestInfo', times: 1 });
    for (let round = 0; round < 3; round += 1) await sender.text(1, 'a');
    expect(sent()).toEqual(['1', '1']);
    vmx.rpci.handle('SetGuestInfo', () => done('what?'));
    for (let round = 0; round < 2; round += 1) await sender.text(1, 'b');
    expect(sent()).toEqual(['1', '1']);
  });

  it('that the host took before it was reset count as not sent', async () => {
    vmx.rpci.handle('SetGuestInfo', () => {
      sender.forget();
      vmx.rpci.handle('SetGuestInfo', () => done());
      return done();
    });
    await sender.text(1, 'a');
    await sender.text(1, 'a');
    await sender.text(1, 'a');
    expect(sent()).toEqual(['1', '1']);
  });

  it('are not lost with the channel', async () => {
    sender = createSender({
      request: () => Promise.reject(new ChannelLost('open', 'no channel')),
    });
    await expect(sender.text(1, 'a')).rejects.toThrow(ChannelLost);
    await expect(sender.nics(report())).rejects.toThrow(ChannelLost);
  });
});

describe('the system', () => {
  it('in one piece', async () => {
    await sender.os(NAMES, "bitness='64'");
    await sender.os(NAMES, "bitness='64'");
    expect(sent()).toEqual(['11']);
    expect(vmx.guestInfo.osDetails()).toMatchObject(NAMES);
  });

  it('as two names where that is refused, until the next reset', async () => {
    vmx.rpci.refuse({ request: /^SetGuestInfo {2}11 / });
    await sender.os(NAMES, '');
    await sender.os(NAMES, '');
    expect(sent()).toEqual(['11', '5', '6']);
    sender.forget();
    await sender.os(NAMES, '');
    expect(sent()).toEqual(['11', '5', '6']);
  });

  it('as two names where they are configured', async () => {
    await sender.os(NAMES, null);
    expect(sent()).toEqual(['5', '6']);
  });
});

describe('disks', () => {
  it('as JSON', async () => {
    await sender.disks(DISKS);
    await sender.disks(DISKS);
    expect(sent()).toEqual(['SetGuestDiskInfo']);
    expect(vmx.rpci.calls[0]?.endsWithNul).toBe(true);
    expect(vmx.guestInfo.disks()).toEqual([{ name: '/', fstype: 'ext4', freeBytes: 1n, sizeBytes: 2n }]);
  });

  it('as a list once that was refused, for good', async () => {
    vmx.rpci.refuse({ request: 'SetGuestDiskInfo', times: 1 });
    await sender.disks(DISKS);
    sender.forget();
    await sender.disks(DISKS);
    expect(sent()).toEqual(['SetGuestDiskInfo', '3', '3']);
    expect(vmx.guestInfo.disks()).toEqual([{ name: '/', freeBytes: 1n, sizeBytes: 2n }]);
  });
});

describe('the network', () => {
  it('in version 3', async () => {
    await sender.nics(report());
    await sender.nics(report());
    await sender.nics(report(2));
    expect(sent()).toEqual(['10', '10']);
    expect(vmx.guestInfo.nics()?.nics[0]?.ips[0]?.address).toBe('192.0.2.2');
  });

  it('in the older forms, the one that worked is kept', async () => {
    vmx.rpci.refuse({ request: /^SetGuestInfo {2}10 / });
    await sender.nics(report());
    await sender.nics(report());
    await sender.nics(report(2));
    expect(sent()).toEqual(['10', '9', '9']);
    vmx.rpci.refuse({ request: /^SetGuestInfo {2}9 /, times: 1 });
    await sender.nics(report(3));
    expect(sent()).toEqual(['9', '9']);
    // version 2
    expect(vmx.rpci.calls.at(-1)?.bytes.readUInt32BE('SetGuestInfo  9 '.length)).toBe(2);
    vmx.rpci.refuse({ request: /^SetGuestInfo {2}9 / });
    await sender.nics(report(4));
    await sender.nics(report(5));
    expect(sent()).toEqual(['9', '2', '2']);
  });

  it('begins with the newest when none was taken', async () => {
    const stop = vmx.rpci.refuse({ request: 'SetGuestInfo' });
    await sender.nics(report());
    expect(sent()).toEqual(['10', '9', '9', '2']);
    stop();
    await sender.nics(report());
    expect(sent()).toEqual(['10']);
  });
});
