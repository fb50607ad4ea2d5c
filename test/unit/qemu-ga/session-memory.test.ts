/** The session gives memory back when it is idle: after a large message, and after many small ones (session.ts). */
import { describe, expect, it, vi } from 'vitest';
import { native } from '../../../src/native/index.ts';
import { protocolCommands } from '../../../src/protocols/qemu-ga/commands/protocol.ts';
import { createRegistry } from '../../../src/protocols/qemu-ga/registry.ts';
import { createSession } from '../../../src/protocols/qemu-ga/session.ts';
import type { Channel, ChannelEvents } from '../../../src/protocols/transport/channel.ts';
import { recordingLog } from '../../support/quiet-log.ts';

const PING = Buffer.from('{"execute":"guest-ping"}\n');

function start() {
  const releaseMemory = vi.fn();
  const ping = protocolCommands.filter(({ name }) => name === 'guest-ping');
  const session = createSession({
    native,
    log: recordingLog(),
    registry: createRegistry(ping, { allowed: [], blocked: [], isFrozen: () => false }),
    context: undefined as never,
    releaseMemory,
  });
  let events: ChannelEvents | undefined;
  let left = Buffer.alloc(0);
  let repliedBytes = 0;
  const channel: Channel = {
    read(target, from, end) {
      const count = left.copy(target, from, 0, end - from);
      left = left.subarray(count);
      return count;
    },
    write(_source, from, end) {
      repliedBytes += end - from;
      return end - from;
    },
    isEdgeTriggered: false,
    want: () => undefined,
    listen: (next) => {
      events = next;
    },
    close: () => undefined,
  };
  void session.serve(channel);
  return {
    releaseMemory,
    repliedBytes: () => repliedBytes,
    send(count: number, message = PING) {
      left = Buffer.concat([left, ...Array<Buffer>(count).fill(message)]);
      events?.readable();
    },
  };
}

describe('memory of a session', () => {
  it('is given back once after 1000 messages, when nothing has come for a second', async () => {
    const { send, releaseMemory, repliedBytes } = start();
    for (let turn = 0; turn < 10; turn += 1) send(100);
    await vi.waitFor(() => expect(repliedBytes()).toBe(1000 * '{"return": {}}\n'.length), {
      timeout: 10_000,
    });
    expect(releaseMemory).not.toHaveBeenCalled();
    await vi.waitFor(() => expect(releaseMemory).toHaveBeenCalledOnce(), { timeout: 10_000 });
    send(1);
    expect(releaseMemory).toHaveBeenCalledOnce();
  });

  it('is given back soon after a large message, though a host goes on asking', async () => {
    const { send, releaseMemory } = start();
    send(1, Buffer.from(`{"execute":"guest-ping","arguments":{"no":"${'A'.repeat(1 << 20)}"}}\n`));
    await vi.waitFor(
      () => {
        send(1);
        expect(releaseMemory).toHaveBeenCalledOnce();
      },
      { timeout: 10_000, interval: 50 },
    );
  });
});
