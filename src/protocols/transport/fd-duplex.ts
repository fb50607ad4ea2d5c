/** A channel as a Node.js stream, for consumers that are written against streams. */
import { Duplex } from 'node:stream';
import type { Channel } from './channel.ts';

const READ_BYTES = 64 * 1024;

export function channelDuplex(channel: Channel): Duplex {
  let isWanted = false;
  let pending: { data: Buffer; start: number; done: (error?: Error | null) => void } | undefined;

  const stream = new Duplex({
    read() {
      isWanted = true;
      updateInterest();
      if (channel.isEdgeTriggered) readAll();
    },
    write(data: Buffer, _encoding, done) {
      pending = { data, start: 0, done };
      writePending();
    },
    destroy(error, done) {
      channel.close();
      pending?.done(error ?? new Error('the channel was closed'));
      pending = undefined;
      done(error);
    },
  });
  channel.listen({ readable: readAll, writable: writePending });
  updateInterest();
  return stream;

  function updateInterest(): void {
    channel.want(isWanted, pending !== undefined);
  }

  function readAll(): void {
    while (isWanted) {
      const chunk = Buffer.allocUnsafe(READ_BYTES);
      const count = channel.read(chunk, 0, chunk.length);
      if (count === 0) return;
      if (count < 0) {
        isWanted = false;
        updateInterest();
        stream.push(null);
        return;
      }
      isWanted = stream.push(chunk.subarray(0, count));
      if (!channel.isEdgeTriggered && count < chunk.length) break;
    }
    updateInterest();
  }

  function writePending(): void {
    if (pending === undefined) return;
    const { data, done } = pending;
    while (pending.start < data.length) {
      const count = channel.write(data, pending.start, data.length);
      if (count === 0) return updateInterest();
      if (count < 0) {
        pending = undefined;
        updateInterest();
        done(new Error('the channel is broken'));
        return;
      }
      pending.start += count;
    }
    pending = undefined;
    updateInterest();
    done();
  }
}
