import { describe, expect, it } from 'vitest';
import { createVmx, type Vmx } from '../../hosts/vmx/vmx.ts';
import { openChannel, PROTOCOL } from './channel-user.ts';

function ask(vmx: Vmx, request: string | Buffer, privileged = false): string | undefined {
  const channel = openChannel(vmx, PROTOCOL.RPCI, { privileged });
  channel.send(Buffer.from(request));
  const reply = channel.receive()?.toString();
  channel.step(6);
  return reply;
}

describe('RPCI (section 3)', () => {
  it.each([
    ['info-get guestinfo.known', '1 some  value '],
    ['info-get guestinfo.known\0', '1 some  value '],
    ['info-get guestinfo.other', '0 No value found'],
    ['machine.id.get', '1 id-1'],
    ['tools.capability.statechange ', '1 '],
    ['tools.capability.features 36=0\0', '1 '],
    ['log hello\0', '1 '],
    ['no.such.thing 1 2', '0 Unknown command'],
    ['', undefined],
  ])('answers %j', (request, reply) => {
    const vmx = createVmx();
    vmx.variables.set('guestinfo.known', 'some  value ');
    vmx.machineId = 'id-1';
    expect(ask(vmx, request)).toBe(reply ?? '0 Unknown command');
    expect(vmx.channels.open()).toEqual([]);
  });

  it('keeps what it is told', () => {
    const vmx = createVmx();
    ask(vmx, 'info-set guestinfo.a b c \0');
    ask(vmx, 'tools.set.versiontype 12352 4\0');
    ask(vmx, 'log one line\0');
    ask(vmx, 'tools.os.statechange.status 0 5\0');
    ask(vmx, 'SetGuestInfo  1 host.name\0');
    expect(vmx.variables.get('guestinfo.a')).toBe('b c ');
    expect(vmx.capabilities.get('tools.set.versiontype')).toBe('12352 4');
    expect(vmx.log).toEqual(['one line']);
    expect(vmx.powerStatuses).toEqual([{ success: false, state: 5 }]);
    expect(vmx.guestInfo.text(1)).toBe('host.name');
    expect(vmx.rpci.calls.map(({ endsWithNul }) => endsWithNul)).toEqual([true, true, true, true, true]);
  });

  it('wants the two blanks of SetGuestInfo and the one before an empty text', () => {
    const vmx = createVmx();
    expect(ask(vmx, 'SetGuestInfo 1 host\0')).toMatch(/^0 /);
    expect(ask(vmx, 'vmbackup.eventSet reset 0\0')).toMatch(/^0 /);
    expect(ask(vmx, 'vmbackup.eventSet reset 0 \0')).toBe('1 ');
    expect(ask(vmx, 'vmbackup.eventSet req.aborted 4 Quiesce canceled.\0')).toBe('1 ');
    expect(vmx.backupEvents).toEqual([
      { name: 'reset', code: 0, text: '' },
      { name: 'req.aborted', code: 4, text: 'Quiesce canceled.' },
    ]);
  });

  it('can demand privilege for backup events', () => {
    const vmx = createVmx();
    vmx.backupNeedsPrivilege = true;
    expect(ask(vmx, 'vmbackup.eventSet reset 0 \0')).toMatch(/^0 Guest is not privileged/);
    expect(ask(vmx, 'vmbackup.eventSet reset 0 \0', true)).toBe('1 ');
  });

  it('refuses on demand, so many times', () => {
    const vmx = createVmx();
    vmx.rpci.refuse({ request: 'log', text: 'no', times: 1 });
    const undo = vmx.rpci.refuse({ request: /^info-get guestinfo\.x/ });
    expect([ask(vmx, 'log a'), ask(vmx, 'log b')]).toEqual(['0 no', '1 ']);
    expect(ask(vmx, 'info-get guestinfo.x')).toBe('0 refused');
    undo();
    expect(ask(vmx, 'info-get guestinfo.x')).toBe('0 No value found');
  });

  it('lets a test wait for a request, past or future', async () => {
    const vmx = createVmx();
    ask(vmx, 'log early');
    expect((await vmx.waitForRpc(/early/)).args).toBe('early');
    const from = vmx.mark();
    const late = vmx.waitForRpc('log late', { from });
    ask(vmx, 'log late\0');
    expect((await late).endsWithNul).toBe(true);
    await expect(vmx.waitForRpc(/never/, { timeoutMs: 10 })).rejects.toThrow('not seen within 10 ms');
  });

  it('confirms an option of the user by TCLO', async () => {
    const vmx = createVmx();
    expect(ask(vmx, 'vmx.set_option synctime 0 1\0')).toBe('1 ');
    const tclo = openChannel(vmx, PROTOCOL.TCLO);
    tclo.send(Buffer.alloc(0));
    expect(tclo.receive()?.toString()).toBe('Set_Option synctime 1');
    tclo.send(Buffer.from('OK '));
  });
});
