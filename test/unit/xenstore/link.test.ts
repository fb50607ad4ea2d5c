import { duplexPair } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type LinkOptions, openLink } from '../../../src/protocols/xenstore/link.ts';
import { createPeer, type Store } from '../../../src/protocols/xenstore/store/peer.ts';
import { createTree } from '../../../src/protocols/xenstore/store/tree.ts';
import { createDecoder } from '../../../src/protocols/xenstore/wire.ts';
import { XenstoreGone } from '../../../src/protocols/xenstore/xenstore.ts';
import { recordingLog } from '../../support/quiet-log.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
});
afterEach(() => vi.useRealTimers());

/** Like vi.waitFor, which would make the clock go on. */
async function soon(check: () => void): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      return check();
    } catch (error) {
      if (tries > 100) throw error;
      await new Promise(setImmediate);
    }
  }
}

/** A link to the embedded store in memory, which can be taken away. */
function stage(options: Partial<LinkOptions> = {}) {
  const log = recordingLog();
  const states: string[] = [];
  let problem: string | null = null;
  let attempts = 0;
  let nowMs = 0;
  let drop = () => {};
  const store: Store = {
    tree: createTree(),
    peers: new Set(),
    publish(changes) {
      for (const change of changes) for (const peer of store.peers) peer.tell(change);
    },
    domains: { isIntroduced: () => false, introduce() {}, release: () => false },
  };
  const link = openLink({
    log,
    open() {
      attempts += 1;
      if (problem !== null) throw new Error(problem);
      const [stream, far] = duplexPair();
      const decoder = createDecoder();
      const peer = createPeer(store, 0, (bytes) => void far.write(bytes));
      store.peers.add(peer);
      far.on('data', (chunk: Buffer) => {
        for (const message of decoder.push(chunk)) peer.handle(message);
      });
      far.on('error', () => {});
      far.on('close', () => store.peers.delete(peer));
      drop = () => far.end();
      return { stream, path: '/dev/xen/xenbus', maxRequestBytes: 4096 };
    },
    onState: (state, detail) => states.push(`${state}: ${detail}`),
    now: () => nowMs,
    ...options,
  });
  return {
    link,
    log,
    states,
    store,
    attempts: () => attempts,
    pass(timeMs: number) {
      nowMs += timeMs;
      return vi.advanceTimersByTimeAsync(timeMs);
    },
    fail(why: string | null) {
      problem = why;
    },
    async drop() {
      drop();
      await soon(() => expect(states.at(-1)).toMatch(/^waiting/));
    },
  };
}

const CLOSED = 'the connection to the store is gone: the store closed it';

describe('a link', () => {
  it('is connected when it is made, where there is a store', async () => {
    const { link, states, log } = stage();
    expect(states).toEqual(['connected: /dev/xen/xenbus']);
    await link.write('/a', '1');
    expect(String(await link.read('/a'))).toBe('1');
    link.stop();
    expect(log.lines).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('connects again, and calls every watch back once', async () => {
    const { link, states, drop, pass } = stage();
    const events: string[] = [];
    await link.watch('/a', (path) => events.push(path));
    const closed = await link.watch('/b', (path) => events.push(path));
    await soon(() => expect(events).toEqual(['/a', '/b']));
    await drop();
    await closed.close();
    await expect(link.read('/a')).rejects.toBeInstanceOf(XenstoreGone);
    await expect(link.transaction(async () => {})).rejects.toBeInstanceOf(XenstoreGone);
    await pass(1_000);
    await soon(() => expect(events).toEqual(['/a', '/b', '/a']));
    await link.write('/a/x', '1');
    expect(events).toEqual(['/a', '/b', '/a', '/a/x']);
    expect(states).toEqual([
      'connected: /dev/xen/xenbus',
      `waiting: /dev/xen/xenbus: ${CLOSED}`,
      'connected: /dev/xen/xenbus',
    ]);
    link.stop();
  });

  it('keeps a watch that was asked for while there was no store', async () => {
    const { link, drop, pass } = stage();
    await drop();
    const onEvent = vi.fn();
    await link.watch('/a', onEvent);
    expect(onEvent).not.toHaveBeenCalled();
    await pass(1_000);
    await soon(() => expect(onEvent).toHaveBeenCalledExactlyOnceWith('/a'));
    link.stop();
  });

  it('tells of a watch that the store refuses', async () => {
    const { link } = stage();
    await expect(link.watch('not a path', () => {})).rejects.toMatchObject({ code: 'EINVAL' });
    link.stop();
  });

  it('closes a watch while it is being registered', async () => {
    const { link, store } = stage();
    const onEvent = vi.fn();
    const watch = await link.watch('/a', onEvent);
    await watch.close();
    await link.write('/a', '1');
    expect([...store.peers].map(({ watchCount }) => watchCount)).toEqual([0]);
    link.stop();
  });

  it('waits twice as long each time, up to a minute, and logs each kind of failure once', async () => {
    const { link, fail, drop, pass, attempts, log } = stage();
    fail('there is neither');
    await drop();
    expect(attempts()).toBe(1);
    for (const [pauseMs, made] of [
      [1, 2],
      [2, 3],
      [4, 4],
      [8, 5],
      [16, 6],
      [32, 7],
      [60, 8],
      [60, 9],
    ] as const) {
      await pass(pauseMs * 1_000 - 1);
      expect(attempts()).toBe(made - 1);
      await pass(1);
      expect(attempts()).toBe(made);
    }
    expect(log.lines).toEqual([
      `warning: /dev/xen/xenbus: ${CLOSED}; trying again until it works`,
      'warning: there is neither; trying again until it works',
    ]);
    fail(null);
    await pass(60_000);
    expect(log.lines.at(-1)).toBe('info: connected to the store at /dev/xen/xenbus');
    link.stop();
  });

  it('begins with a second again once a connection has stood for a minute', async () => {
    const { link, drop, pass, attempts, log } = stage();
    await drop();
    await pass(1_000);
    await drop();
    await pass(1_999);
    expect(attempts()).toBe(2);
    await pass(1);
    expect(attempts()).toBe(3);
    await pass(60_000);
    await drop();
    await pass(1_000);
    expect(attempts()).toBe(4);
    expect(log.lines.filter((line) => line.startsWith('warning'))).toHaveLength(2);
    link.stop();
  });

  it('does nothing any more when it is stopped', async () => {
    const { link, drop, pass, attempts } = stage();
    const watch = await link.watch('/a', () => {});
    await drop();
    link.stop();
    await pass(100_000);
    expect(attempts()).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
    await expect(link.read('/a')).rejects.toBeInstanceOf(XenstoreGone);
    await expect(link.watch('/a', () => {})).rejects.toBeInstanceOf(XenstoreGone);
    await watch.close();
  });

  it('gives up what waits when it is stopped', async () => {
    const { link } = stage();
    const read = link.read('/a');
    const watch = link.watch('/b', () => {});
    link.stop();
    await expect(read).rejects.toBeInstanceOf(XenstoreGone);
    await (await watch).close();
    expect(vi.getTimerCount()).toBe(0);
  });
});
