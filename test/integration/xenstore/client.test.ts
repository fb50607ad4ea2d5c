/** The client against stores: the embedded one, and C xenstored as a guest's ring, as its xenbus device, and as that of an old kernel. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Connection } from '../../../src/protocols/xenstore/connection.ts';
import { encodeTexts, MessageType } from '../../../src/protocols/xenstore/wire.ts';
import type { Watch } from '../../../src/protocols/xenstore/xenstore.ts';
import { startEmbeddedStore } from '../../support/embedded-store.ts';
import { connectTo, type TestStore, until } from '../../support/test-store.ts';
import { startXenstored, xenstoredMissing } from '../../support/xenstored.ts';

interface Stage {
  name: string;
  start(): Promise<TestStore>;
  socket(store: TestStore, id: number): string;
  isReal: boolean;
  /** Of one write, with its header. */
  maxRequestBytes?: number;
}
const stages: Stage[] = [
  {
    name: 'the embedded store',
    start: startEmbeddedStore,
    socket: (store, id) => store.guestSocket(id),
    isReal: false,
  },
  {
    name: 'C xenstored',
    start: startXenstored,
    socket: (store, id) => store.guestSocket(id),
    isReal: true,
  },
  {
    name: 'C xenstored through xenbus',
    start: startXenstored,
    socket: (store, id) => store.xenbusSocket(id),
    isReal: true,
    maxRequestBytes: 4096,
  },
  {
    name: 'C xenstored through the xenbus of an old kernel',
    start: () => startXenstored({ oldKernel: true }),
    socket: (store, id) => store.xenbusSocket(id),
    isReal: true,
    maxRequestBytes: 4096,
  },
];

describe.each(stages)('$name', ({ start, socket, isReal, maxRequestBytes }) => {
  const missing = isReal ? xenstoredMissing() : undefined;
  let store: TestStore;
  let guest: Connection;
  let id = 0;
  const connect = (domain = id) =>
    connectTo(socket(store, domain), {
      // pauses are tested elsewhere
      random: () => 0,
      ...(maxRequestBytes === undefined ? {} : { maxRequestBytes }),
    });

  beforeAll(async () => {
    if (missing === undefined) store = await start();
  });
  afterAll(async () => {
    await store?.stop();
  });
  beforeEach(async (context) => {
    if (missing !== undefined) return context.skip(missing);
    id += 1;
    await store.domainUp(id, { xsdata: { 'vm-data/key': 'value' } });
    guest = connect();
    return async () => {
      guest.close();
      // a test may have ended it
      await store.domainDown(id).catch(() => undefined);
    };
  });

  it('reads and writes, lists and removes', async () => {
    expect(String(await guest.read('domid'))).toBe(String(id));
    expect(String(await guest.read('vm-data/key'))).toBe('value');
    await guest.write('data/a/b', Buffer.from([0, 255, 0]));
    await guest.write('data/empty', '');
    await guest.makeDirectory('data/folder');
    expect(await guest.read('data/a/b')).toEqual(Buffer.from([0, 255, 0]));
    expect(await guest.read('data/empty')).toHaveLength(0);
    expect((await guest.directory('data')).sort()).toEqual(['a', 'empty', 'folder']);
    expect(await guest.directory('data/folder')).toEqual([]);
    await guest.remove('data/a');
    await guest.remove('data/a');
    await guest.remove('data/not/there');
    await expect(guest.read('data/a/b')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('has permissions', async () => {
    expect(await guest.permissions('data')).toEqual([`n${id}`]);
    await guest.setPermissions('data', [`n${id}`, 'r0']);
    expect(await guest.permissions('data')).toEqual([`n${id}`, 'r0']);
    await guest.write('data/a', '1');
    expect(await guest.permissions('data/a')).toEqual([`n${id}`, 'r0']);
    await expect(guest.setPermissions('data', ['n0'])).rejects.toMatchObject({ code: 'EPERM' });
    for (const refused of [
      guest.write('name', 'x'),
      guest.write('new', 'x'),
      guest.directory('/local/domain'),
    ])
      await expect(refused).rejects.toMatchObject({ code: 'EACCES' });
  });

  it('gives a guest 2015 bytes a node', async () => {
    await guest.write('data/a', Buffer.alloc(2015, 'x'));
    expect(await guest.read('data/a')).toHaveLength(2015);
    await expect(guest.write('data/a', Buffer.alloc(2016))).rejects.toMatchObject({ code: 'ENOSPC' });
    await expect(guest.write('data/a', Buffer.alloc(4000))).rejects.toMatchObject({ code: 'ENOSPC' });
    await expect(guest.write('data/a', Buffer.alloc(4096))).rejects.toMatchObject({ code: 'E2BIG' });
    expect(await guest.read('data/a')).toHaveLength(2015);
  });

  it('hands over the 4 KiB that a toolstack may write', async () => {
    const path = `/local/domain/${id}/vm-data/large`;
    const value = 'y'.repeat(4095 - path.length);
    await store.toolstack.write(path, value);
    expect(String(await guest.read('vm-data/large'))).toBe(value);
  });

  it('lists more children than a message holds', async () => {
    const names = Array.from({ length: 300 }, (_, i) => `child-${i}-${'n'.repeat(20)}`);
    await Promise.all(
      names.map((name) => store.toolstack.write(`/local/domain/${id}/vm-data/many/${name}`, '')),
    );
    expect((await guest.directory('vm-data/many')).sort()).toEqual(names.sort());
  });

  it('answers many requests at once', async () => {
    const keys = Array.from({ length: 100 }, (_, i) => `data/k${i}`);
    await Promise.all(keys.map((key, i) => guest.write(key, `${i}`.repeat(i))));
    const values = await Promise.all(keys.map((key) => guest.read(key)));
    expect(values.map(String)).toEqual(keys.map((_, i) => `${i}`.repeat(i)));
  });

  it('tells watches, once when they stand, then of changes here and below, own and others’', async () => {
    const events: string[] = [];
    const watch = await guest.watch('vm-data/x', (path) => events.push(path));
    await until('the first event', () => events.length === 1);
    await store.toolstack.write(`/local/domain/${id}/vm-data/x`, '1');
    await until('the event', () => events.length === 2);
    await guest.write('vm-data/x/y/z', '1');
    expect(events).toEqual(['vm-data/x', 'vm-data/x', 'vm-data/x/y/z']);
    await guest.write('vm-data/other', '1');
    await guest.remove('vm-data');
    expect(events.slice(3)).toEqual(['vm-data/x']);
    await watch.close();
    await guest.write('data/a', '1');
    expect(events).toHaveLength(4);
  });

  it('tells two watches on one path each', async () => {
    const events: string[] = [];
    await guest.watch('data', () => events.push('first'));
    await guest.watch('data', () => events.push('second'));
    await until('the first events', () => events.length === 2);
    await guest.write('data/a', '1');
    expect(events.slice(2).sort()).toEqual(['first', 'second']);
  });

  it('keeps transactions to themselves until they end', async () => {
    const events: string[] = [];
    await guest.watch('data', (path) => events.push(path));
    await guest.transaction(async (access) => {
      await access.write('data/a', '1');
      await access.write('data/b', '2');
      expect(String(await access.read('data/a'))).toBe('1');
      await expect(guest.read('data/a')).rejects.toMatchObject({ code: 'ENOENT' });
    });
    expect(String(await guest.read('data/b'))).toBe('2');
    expect(events).toEqual(['data', 'data/a', 'data/b']);
    const abandoned = guest.transaction(async (access) => {
      await access.write('data/c', '1');
      throw new Error('no');
    });
    await expect(abandoned).rejects.toThrow('no');
    await expect(guest.read('data/c')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('does a transaction again after a conflict with a contender', async () => {
    await guest.write('data/count', '0');
    const contender = connect();
    const increment = (client: Connection, times: number) =>
      client.transaction(async (access) => {
        attempts += 1;
        const count = Number(await access.read('data/count'));
        if (attempts <= times) await contender.write('data/count', String(count + 10));
        await access.write('data/count', String(count + 1));
      });
    let attempts = 0;
    await increment(guest, 3);
    expect(attempts).toBe(4);
    expect(String(await guest.read('data/count'))).toBe('31');
    contender.close();
  });

  it('loses no increment of many clients', async () => {
    await guest.write('data/count', '0');
    const clients = [guest, connect(), connect()];
    const work = clients.map(async (client) => {
      for (let i = 0; i < 5; i += 1)
        await client.transaction(async (access) => {
          const count = Number(await access.read('data/count'));
          await access.write('data/count', String(count + 1));
        });
    });
    await Promise.all(work);
    expect(String(await guest.read('data/count'))).toBe('15');
    for (const client of clients.slice(1)) client.close();
  });

  it('gives up a transaction in a storm, and goes on', async () => {
    const contender = connect();
    const storm = guest.transaction(async (access) => {
      await access.write('data/a', '1');
      await contender.write('data/a', '2');
    });
    await expect(storm).rejects.toMatchObject({ code: 'EAGAIN' });
    expect(String(await guest.read('data/a'))).toBe('2');
    contender.close();
  });

  it('limits a guest’s watches', async () => {
    const watches: Watch[] = [];
    const refusal = await (async () => {
      for (let i = 0; i < 200; i += 1) watches.push(await guest.watch(`data/w${i}`, () => {}));
    })().catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: 'E2BIG' });
    expect(watches).toHaveLength(129);
    await watches[0]?.close();
    await guest.watch('data/again', () => {});
  });

  it('follows its domain into another', async () => {
    const events: string[] = [];
    await guest.watch('vm-data/script', (path) => events.push(path));
    await guest.watch('data', (path) => events.push(path));
    await guest.write('data/own', '1');
    const next = id + 100;
    events.length = 0;
    await store.resume(id, next);
    await until('the watches', () => events.length === 2);
    expect(events.toSorted()).toEqual(['data', 'vm-data/script']);
    expect(String(await guest.read('domid'))).toBe(String(next));
    await expect(guest.read('data/own')).rejects.toMatchObject({ code: 'ENOENT' });
    await guest.write('data/own', '2');
    await store.toolstack.write(`/local/domain/${next}/vm-data/script`, 'x');
    await until('the event', () => events.filter((path) => path === 'vm-data/script').length === 2);
    await store.domainDown(next);
  });

  it('does a transaction anew that a resume has cut', async () => {
    const next = id + 200;
    let attempts = 0;
    await guest.transaction(async (access) => {
      attempts += 1;
      await access.write('data/own', String(await access.read('domid')));
      if (attempts === 1) await store.resume(id, next);
    });
    expect(attempts).toBe(2);
    expect(String(await guest.read('data/own'))).toBe(String(next));
    await store.domainDown(next);
  });

  it('ends with its domain', async () => {
    await store.domainDown(id);
    expect((await guest.ended).name).toBe('XenstoreGone');
  });

  it('refuses what is the toolstack’s', async () => {
    for (const type of [MessageType.INTRODUCE, MessageType.CONTROL, MessageType.IS_DOMAIN_INTRODUCED])
      await expect(guest.request(type, encodeTexts('1', '1', '1'))).rejects.toMatchObject({ code: 'EACCES' });
  });
});
