import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createVmx, type Vmx } from '../../hosts/vmx/vmx.ts';
import { listenForVsockets, type VsocketLink } from '../../hosts/vmx/vsocket-link.ts';
import { encodePacket, packetReader, type VsocketPacket } from '../../hosts/vmx/vsocket-packet.ts';

const ONE_SHOT =
  '00000042 00000001 00000001 00000001 00000000 00000002 00000002 00000016' +
  `${Buffer.from('info-get guestinfo.foo').toString('hex')} 00000001 00000003 00000001 00000000`;
const PING = '00000010 00000001 00000001 00000002 00000000';
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('vsocket packets (section 13)', () => {
  it('are those of the examples', () => {
    const packet: VsocketPacket = {
      type: 'data',
      payload: Buffer.from('info-get guestinfo.foo'),
      fastClose: true,
    };
    expect(encodePacket(packet)).toEqual(hex(ONE_SHOT));
    expect(encodePacket({ type: 'ping', payload: Buffer.alloc(0), fastClose: false })).toEqual(hex(PING));
    const read = packetReader();
    const pieces = [...hex(PING + ONE_SHOT)].flatMap((byte) => read(Buffer.of(byte)));
    expect(pieces).toEqual([{ type: 'ping', payload: Buffer.alloc(0), fastClose: false }, packet]);
  });
});

describe('the vsocket front', () => {
  let directory: string;
  let vmx: Vmx;
  let link: VsocketLink;
  let sockets: Socket[];

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'vmx-vsocket-'));
    vmx = createVmx();
    sockets = [];
    link = await listenForVsockets(vmx, join(directory, 'host'));
  });
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    await link[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });

  function open(port: number): { socket: Socket; next(): Promise<VsocketPacket> } {
    const socket = connect(join(directory, `host.vsock.${port}`));
    sockets.push(socket);
    const read = packetReader();
    const packets: VsocketPacket[] = [];
    let wake = () => {};
    socket.on('data', (piece) => {
      packets.push(...read(piece));
      wake();
    });
    return {
      socket,
      async next() {
        while (packets.length === 0)
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        const packet = packets.shift();
        if (packet === undefined) throw new Error('unreachable: the loop has waited for one');
        return packet;
      },
    };
  }

  it('answers RPCs, and closes after a one-shot', async () => {
    vmx.variables.set('guestinfo.foo', 'bar');
    const { socket, next } = open(976);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write(hex(ONE_SHOT));
    expect((await next()).payload.toString()).toBe('1 bar');
    await closed;
    expect(vmx.rpci.calls[0]).toMatchObject({ transport: 'vsocket', privileged: true });
  });

  it('sends commands without being polled', async () => {
    const { socket, next } = open(975);
    await vmx.tclo.session();
    const first = vmx.command('ping');
    const second = vmx.command('reset');
    socket.write(hex(PING));
    expect((await next()).payload.toString()).toBe('ping');
    socket.write(encodePacket({ type: 'data', payload: Buffer.from('OK '), fastClose: false }));
    expect((await first).ok).toBe(true);
    expect((await next()).payload.toString()).toBe('reset');
    expect(link.pingsMs).toHaveLength(1);
    link.drop(975);
    await expect(second).rejects.toThrow('closed the channel');
  });
});
