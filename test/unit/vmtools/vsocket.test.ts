/** RPCI and TCLO over a vsocket connection, here two ends of a stream (spec vmware.md section 13). */
import { type Duplex, duplexPair } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { accepted, type TcloHandler } from '../../../src/protocols/vmtools/rpc.ts';
import { serveVsocketCommands, vsocketRpci } from '../../../src/protocols/vmtools/vsocket.ts';
import {
  createPacketReader,
  encodePacket,
  type VsocketPacket,
} from '../../../src/protocols/vmtools/vsocket-packet.ts';
import { recordingLog } from '../../support/quiet-log.ts';

afterEach(() => vi.useRealTimers());

/** The host's end: keeps the packets and answers them. */
function hostEnd(answer: (packet: VsocketPacket, stream: Duplex) => void = () => {}) {
  const [guest, host] = duplexPair();
  const packets: VsocketPacket[] = [];
  const reader = createPacketReader(2 ** 20);
  host.on('data', (chunk: Buffer) => {
    for (const packet of reader.push(chunk)) {
      packets.push(packet);
      answer(packet, host);
    }
  });
  host.on('error', () => {});
  return { guest, host, packets };
}

const data = (text: string): Buffer =>
  encodePacket({ kind: 'data', payload: Buffer.from(text), fastClose: false });
const textOf = (packet: VsocketPacket) => (packet.kind === 'data' ? String(packet.payload) : packet.kind);

describe('RPCI', () => {
  const echo = (packet: VsocketPacket, stream: Duplex) => stream.write(data(`1 ${textOf(packet)}`));

  it('asks and is answered, over and over', async () => {
    const { guest, packets } = hostEnd(echo);
    const channel = vsocketRpci(guest);
    for (const text of ['one', '', 'three'.repeat(20_000)])
      expect(String(await channel.exchange(Buffer.from(text)))).toBe(`1 ${text}`);
    expect(packets.every((packet) => packet.kind === 'data' && !packet.fastClose)).toBe(true);
    channel.close();
    expect(guest.destroyed).toBe(true);
  });

  it('may ask for one reply only', async () => {
    const { guest, packets } = hostEnd((packet, stream) => {
      echo(packet, stream);
      stream.end();
    });
    const channel = vsocketRpci(guest, { isOneShot: true });
    expect(String(await channel.exchange(Buffer.from('one')))).toBe('1 one');
    expect(packets).toMatchObject([{ fastClose: true }]);
    await turn();
    await expect(channel.exchange(Buffer.from('two'))).rejects.toMatchObject({ step: 'send' });
  });

  it.each<[string, (stream: Duplex) => void]>([
    ['an end', (stream) => stream.end()],
    ['a broken connection', (stream) => stream.destroy()],
    ['garbage', (stream) => stream.write(Buffer.from('HTTP/1.1 400 Bad Request\r\n'))],
    ['a packet cut off', (stream) => stream.end(data('1 reply').subarray(0, 20))],
  ])('%s instead of a reply is a lost channel', async (_what, break_) => {
    // before the host has ever answered the request may go another way, afterwards not
    for (const [answersBefore, step] of [
      [0, 'send'],
      [1, 'receive'],
    ] as const) {
      let answers = 0;
      const { guest } = hostEnd((packet, stream) => {
        answers += 1;
        if (answers <= answersBefore) echo(packet, stream);
        else break_(stream);
      });
      const channel = vsocketRpci(guest);
      for (let count = 0; count < answersBefore; count += 1) await channel.exchange(Buffer.from('x'));
      await expect(channel.exchange(Buffer.from('x'))).rejects.toMatchObject({ name: 'ChannelLost', step });
      await expect(channel.exchange(Buffer.from('x'))).rejects.toMatchObject({
        name: 'ChannelLost',
        step: 'send',
      });
      expect(guest.destroyed).toBe(true);
    }
  });

  it('a reply that nobody asked for ends the connection', async () => {
    const { guest, host } = hostEnd();
    const channel = vsocketRpci(guest);
    host.write(data('1 hello'));
    await vi.waitFor(() => expect(guest.destroyed).toBe(true));
    await expect(channel.exchange(Buffer.from('x'))).rejects.toMatchObject({ step: 'send' });
  });

  it('a host that does not answer in time is lost', async () => {
    const { guest } = hostEnd();
    const channel = vsocketRpci(guest, { replyLimitMs: 20 });
    await expect(channel.exchange(Buffer.from('x'))).rejects.toThrow('no reply in time');
    expect(guest.destroyed).toBe(true);
  });

  it('close fails the request under way', async () => {
    const { guest } = hostEnd();
    const channel = vsocketRpci(guest);
    const asked = channel.exchange(Buffer.from('x'));
    channel.close();
    await expect(asked).rejects.toMatchObject({ name: 'ChannelLost' });
  });
});

describe('TCLO', () => {
  const serve = (stream: Duplex, handler: TcloHandler, pingMs = 60_000) => {
    const stop = new AbortController();
    const log = recordingLog();
    const served = serveVsocketCommands({ stream, handler, log, signal: stop.signal, pingMs });
    return { stop, served };
  };

  it('answers commands one at a time, in order', async () => {
    const { guest, host, packets } = hostEnd();
    let running = 0;
    const { stop, served } = serve(guest, async (command) => {
      running += 1;
      expect(running).toBe(1);
      await turn();
      running -= 1;
      return accepted(command);
    });
    host.write(Buffer.concat([data('one'), data('two'), data('three')]));
    await vi.waitFor(() => expect(packets.map(textOf)).toEqual(['OK one', 'OK two', 'OK three']));
    stop.abort();
    await served;
    expect(guest.destroyed).toBe(true);
  });

  it('has a heartbeat', async () => {
    const { guest, packets } = hostEnd();
    const { stop, served } = serve(guest, async () => accepted(), 5);
    await vi.waitFor(() => expect(packets.length).toBeGreaterThan(2));
    expect(new Set(packets.map(textOf))).toEqual(new Set(['ping']));
    stop.abort();
    await served;
    await turn();
    const count = packets.length;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(packets).toHaveLength(count);
  });

  it('does nothing when it is stopped before it begins', async () => {
    const { guest } = hostEnd();
    await serveVsocketCommands({
      stream: guest,
      handler: async () => accepted(),
      log: recordingLog(),
      signal: AbortSignal.abort(),
    });
    expect(guest.destroyed).toBe(true);
  });

  it.each<[string, (stream: Duplex) => void]>([
    ['an end', (stream) => stream.end()],
    ['a broken connection', (stream) => stream.destroy()],
    ['garbage', (stream) => stream.write(Buffer.alloc(100, 0xff))],
    ['a command of more than 2 MiB', (stream) => stream.write(data('x'.repeat(2_200_000)))],
    [
      'a flood of commands',
      (stream) => stream.write(Buffer.concat(Array.from({ length: 50 }, () => data('x')))),
    ],
  ])('%s is a lost channel', async (_what, break_) => {
    const { guest, host } = hostEnd();
    const { served } = serve(guest, () => new Promise(() => {}));
    break_(host);
    await expect(served).rejects.toMatchObject({ name: 'ChannelLost' });
    expect(guest.destroyed).toBe(true);
  });

  it('is lost where no command ever comes, and only there', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const spoken = hostEnd();
    const { stop, served } = serve(spoken.guest, async () => accepted());
    spoken.host.write(data('reset'));
    while (spoken.packets.length === 0) await turn();
    const silent = serve(hostEnd().guest, async () => accepted());
    vi.advanceTimersByTime(30_000);
    await expect(silent.served).rejects.toThrow('the host sends no command');
    expect(spoken.guest.destroyed).toBe(false);
    stop.abort();
    await served;
  });

  it('is lost when the host stops in the middle of a command', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { guest, host, packets } = hostEnd();
    const { served } = serve(guest, async () => accepted());
    const ended = expect(served).rejects.toThrow('the host stopped in the middle of a message');
    const command = data('ping');
    host.write(Buffer.concat([command, command.subarray(0, 9)]));
    while (packets.length < 1) await turn();
    vi.advanceTimersByTime(20_000);
    // what was left of it, and the beginning of the next one
    host.write(Buffer.concat([command.subarray(9), command.subarray(0, 2)]));
    while (packets.length < 2) await turn();
    vi.advanceTimersByTime(29_999);
    expect(guest.destroyed).toBe(false);
    vi.advanceTimersByTime(1);
    await ended;
    expect(guest.destroyed).toBe(true);
  });

  it('a reply after the end goes nowhere', async () => {
    const { guest, host, packets } = hostEnd();
    let answer: () => void = () => {};
    const { stop, served } = serve(
      guest,
      () => new Promise((resolve) => (answer = () => resolve(accepted()))),
    );
    host.write(data('slow'));
    await turn();
    stop.abort();
    await served;
    answer();
    await turn();
    expect(packets).toEqual([]);
  });
});
