import { expect, it } from 'vitest';
import { type NetworkChange, watchNetwork } from '../../../src/guest/network-events.ts';
import type { Poller } from '../../../src/native/addon.ts';
import { native } from '../../../src/native/index.ts';
import { recordingLog } from '../../support/quiet-log.ts';

const EAGAIN = -11;
const ENOBUFS = -105;
const EBADF = -9;

/** A socket on which these results are received, one after the other, whenever it is polled. */
function watch(results: number[], listenResult = 4711) {
  let onEvents = (_events: number): void => undefined;
  const closed: string[] = [];
  class FakePoller implements Poller {
    constructor(_fd: number, _mode: 'level' | 'edge', callback: (events: number) => void) {
      onEvents = callback;
    }
    interest() {}
    close() {
      closed.push('poller');
    }
    unref() {}
    ref() {}
  }
  const changes: NetworkChange[] = [];
  const log = recordingLog();
  const watched = watchNetwork({
    native: {
      netlinkListen: () => listenResult,
      netlinkReceive: (_fd, buffer) => {
        buffer.fill(0);
        const result = results.shift() ?? EAGAIN;
        // a RTM_NEWLINK of that length
        Buffer.from(buffer.buffer, buffer.byteOffset).writeUInt32LE(Math.max(result, 0), 0);
        buffer[4] = 16;
        return [result, -1];
      },
      Poller: FakePoller,
      close: () => {
        closed.push('socket');
        return 0;
      },
      errorText: native.errorText,
    },
    log,
    onChange: (some) => changes.push(...some),
  });
  return { watched, log, changes, closed, poll: () => onEvents(1) };
}

const subjects = (changes: readonly NetworkChange[]) => changes.map(({ subject }) => subject);

it('tells everything that one wake-up brought', () => {
  const { changes, poll } = watch([32, 32]);
  poll();
  expect(subjects(changes)).toEqual(['links', 'links']);
});

it('when the kernel lost some, anything may have changed', () => {
  const { changes, poll, closed } = watch([32, ENOBUFS, 32]);
  poll();
  expect(subjects(changes)).toEqual(['links', 'everything', 'links']);
  expect(closed).toEqual([]);
});

it('gives up on an error that does not go away, and says so', () => {
  const { changes, poll, closed, log } = watch([EBADF]);
  poll();
  expect(subjects(changes)).toEqual(['everything']);
  expect(closed).toEqual(['poller', 'socket']);
  expect(log.lines).toEqual([expect.stringMatching(/^warning: network: changes are no longer watched/)]);
});

it('is null where the kernel refuses', () => {
  const { watched, log } = watch([], -1);
  expect(watched).toBeNull();
  expect(log.lines).toHaveLength(1);
});

it('closes once', () => {
  const { watched, closed } = watch([]);
  watched?.close();
  watched?.close();
  expect(closed).toEqual(['poller', 'socket']);
});
