import { Duplex, duplexPair } from 'node:stream';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type ConnectionOptions, connectOver } from '../../../src/protocols/xenstore/connection.ts';
import { MAX_ATTEMPTS } from '../../../src/protocols/xenstore/transaction.ts';
import {
  createDecoder,
  decodeTexts,
  encodeMessage,
  encodeTexts,
  type Message,
  MessageType,
} from '../../../src/protocols/xenstore/wire.ts';
import { XenstoreError, XenstoreGone } from '../../../src/protocols/xenstore/xenstore.ts';
import { recordingLog } from '../../support/quiet-log.ts';

afterEach(() => vi.useRealTimers());

/** A client and the store's end of its stream; the test says what the store answers. */
function stage(options: Partial<ConnectionOptions> = {}) {
  const [near, far] = duplexPair();
  const log = recordingLog();
  const connection = connectOver(near, { log, random: () => 0, ...options });
  const decoder = createDecoder();
  const requests: Message[] = [];
  let onRequest = (_request: Message) => {};
  far.on('data', (chunk: Buffer) => {
    for (const message of decoder.push(chunk)) {
      requests.push(message);
      onRequest(message);
    }
  });
  far.on('error', () => {});
  const send = (message: Partial<Message>) =>
    far.write(
      encodeMessage({ type: 0, requestId: 0, transactionId: 0, payload: Buffer.alloc(0), ...message }),
    );
  return {
    connection,
    near,
    far,
    log,
    requests,
    send,
    reply: (request: Message, text: string) => send({ ...request, payload: Buffer.from(text) }),
    refuse: (request: Message, code: string) =>
      send({ ...request, type: MessageType.ERROR, payload: encodeTexts(code) }),
    answer(handler: (request: Message) => void) {
      onRequest = handler;
    },
    request: async (index: number): Promise<Message> =>
      vi.waitFor(() => {
        const found = requests[index];
        if (found === undefined) throw new Error(`no request ${index}`);
        return found;
      }),
  };
}

const OK = 'OK\0';

describe('requests', () => {
  it('are matched with their replies by id, in any order', async () => {
    const { connection, reply, request } = stage();
    const first = connection.read('a');
    const second = connection.read('b');
    reply(await request(1), 'of b');
    reply(await request(0), 'of a');
    expect(String(await second)).toBe('of b');
    expect(String(await first)).toBe('of a');
  });

  it.each([
    ['read', MessageType.READ, 'p\0'],
    ['directory', MessageType.DIRECTORY, 'p\0'],
    ['makeDirectory', MessageType.MKDIR, 'p\0'],
    ['remove', MessageType.RM, 'p\0'],
    ['permissions', MessageType.GET_PERMS, 'p\0'],
  ] as const)('%s', async (method, type, payload) => {
    const { connection, reply, request } = stage();
    const done = connection[method]('p');
    const sent = await request(0);
    expect(sent).toMatchObject({ type, transactionId: 0, payload: Buffer.from(payload) });
    reply(sent, OK);
    await done;
  });

  it('write values as they are, and permissions one by one', async () => {
    const { connection, reply, request } = stage();
    connection.write('p', Buffer.from([0, 1, 0]));
    expect((await request(0)).payload).toEqual(Buffer.from('p\0\0\x01\0'));
    const done = connection.setPermissions('p', ['n5', 'r0']);
    expect((await request(1)).payload).toEqual(Buffer.from('p\0n5\0r0\0'));
    reply(await request(0), OK);
    reply(await request(1), OK);
    await done;
  });

  it('are refused with the store’s own error', async () => {
    const { connection, refuse, request } = stage();
    const done = connection.write('name', 'x');
    refuse(await request(0), 'EACCES');
    await expect(done).rejects.toMatchObject({
      name: 'XenstoreError',
      code: 'EACCES',
      message: 'WRITE name: EACCES',
    });
  });

  it('to remove what is not there are fulfilled', async () => {
    const { connection, refuse, request } = stage();
    const done = connection.remove('a/b');
    refuse(await request(0), 'ENOENT');
    await done;
  });

  it('never have the id 0 nor one that still waits when the numbers wrap', async () => {
    const { connection, request, reply } = stage({ firstRequestId: 0xffff_fffe });
    for (let i = 0; i < 4; i += 1) connection.read('p').catch(() => {});
    const ids = [];
    for (let i = 0; i < 4; i += 1) ids.push((await request(i)).requestId);
    expect(ids).toEqual([0xffff_fffe, 0xffff_ffff, 1, 2]);
    reply(await request(0), '');
  });

  it('that are too long are not sent', async () => {
    const { connection, requests } = stage();
    await expect(connection.write('p', Buffer.alloc(4095))).rejects.toMatchObject({ code: 'E2BIG' });
    connection.write('p', Buffer.alloc(4094)).catch(() => {});
    await vi.waitFor(() => expect(requests).toHaveLength(1));
    const device = stage({ maxRequestBytes: 4096 });
    await expect(device.connection.write('p', Buffer.alloc(4079))).rejects.toMatchObject({ code: 'E2BIG' });
    device.connection.write('p', Buffer.alloc(4078)).catch(() => {});
    await vi.waitFor(() => expect(device.requests).toHaveLength(1));
  });

  it('go out one message a write, never two at once, also when many wait', async () => {
    const writes: Buffer[] = [];
    let underWay = 0;
    const device = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        expect(++underWay).toBe(1);
        writes.push(chunk);
        setImmediate(() => {
          underWay -= 1;
          done();
        });
      },
    });
    const connection = connectOver(device, { log: recordingLog() });
    for (let i = 0; i < 20; i += 1) connection.write(`k${i}`, 'v'.repeat(i * 100)).catch(() => {});
    await vi.waitFor(() => expect(writes).toHaveLength(20));
    for (const [i, bytes] of writes.entries()) {
      expect(bytes).toHaveLength(16 + bytes.readUInt32LE(12));
      expect(createDecoder().push(bytes)[0]?.payload.toString()).toBe(`k${i}\0${'v'.repeat(i * 100)}`);
    }
    connection.close();
  });
});

describe('a long directory', () => {
  it('is read in parts, and anew when it changes in between', async () => {
    const { connection, answer, reply, refuse, requests } = stage();
    const parts = ['7\0aa\0', '8\0bb\0\0', '8\0aa\0', '8\0bb\0\0'];
    answer((request) => {
      if (request.type === MessageType.DIRECTORY) refuse(request, 'E2BIG');
      else reply(request, parts.shift() ?? '');
    });
    expect(await connection.directory('p')).toEqual(['aa', 'bb']);
    expect(requests.map(({ payload }) => decodeTexts(payload)[1])).toEqual([undefined, '0', '3', '0', '3']);
  });

  it('that always changes is given up', async () => {
    const { connection, answer, reply, refuse } = stage();
    let generation = 0;
    answer((request) =>
      request.type === MessageType.DIRECTORY
        ? refuse(request, 'E2BIG')
        : reply(request, `${generation++}\0a\0`),
    );
    await expect(connection.directory('p')).rejects.toMatchObject({ code: 'EAGAIN' });
  });
});

describe('watches', () => {
  it('have tokens, by which events find them, also before the reply that they come with', async () => {
    const { connection, answer, reply, send } = stage();
    answer((request) => {
      const [path = '', token = ''] = decodeTexts(request.payload);
      if (request.type === MessageType.WATCH) {
        reply(request, OK);
        send({ type: MessageType.WATCH_EVENT, payload: encodeTexts(path, token) });
      }
      if (request.type === MessageType.WRITE) {
        send({ type: MessageType.WATCH_EVENT, payload: encodeTexts('a/x', 'w1') });
        reply(request, OK);
      }
    });
    const events: string[] = [];
    await connection.watch('a', (path) => events.push(`a: ${path}`));
    await connection.watch('b', (path) => events.push(`b: ${path}`));
    await connection.write('a/x', '1').then(() => events.push('written'));
    expect(events).toEqual(['a: a', 'b: b', 'a: a/x', 'written']);
  });

  it('are deaf once they are closed, and closed only once', async () => {
    const { connection, answer, reply, send, requests } = stage();
    answer((request) => {
      if (request.type === MessageType.UNWATCH)
        send({ type: MessageType.WATCH_EVENT, payload: encodeTexts('a', 'w1') });
      reply(request, OK);
    });
    const onEvent = vi.fn();
    const watch = await connection.watch('a', onEvent);
    await watch.close();
    await watch.close();
    send({ type: MessageType.WATCH_EVENT, payload: encodeTexts('a', 'w1') });
    await connection.read('x');
    expect(onEvent).not.toHaveBeenCalled();
    expect(requests.map(({ type }) => type)).toEqual([
      MessageType.WATCH,
      MessageType.UNWATCH,
      MessageType.READ,
    ]);
  });

  it('that are refused are forgotten; a close that is refused is none of the caller’s business', async () => {
    const { connection, answer, reply, refuse } = stage();
    let refused = true;
    answer((request) => (refused ? refuse(request, 'E2BIG') : reply(request, OK)));
    await expect(connection.watch('a', () => {})).rejects.toBeInstanceOf(XenstoreError);
    refused = false;
    const watch = await connection.watch('a', () => {});
    refused = true;
    await watch.close();
  });

  it('are answered with the id 0 by old kernels, oldest first', async () => {
    const { connection, send, request, reply } = stage();
    const read = connection.read('x');
    const first = connection.watch('a', () => {});
    const second = connection.watch('b', () => {});
    await request(2);
    send({ type: MessageType.WATCH, requestId: 0, payload: Buffer.from(OK) });
    const { close } = await first;
    send({ type: MessageType.ERROR, requestId: 0, payload: encodeTexts('E2BIG') });
    await expect(second).rejects.toMatchObject({ code: 'E2BIG' });
    const closed = close();
    await request(3);
    send({ type: MessageType.UNWATCH, requestId: 0, payload: Buffer.from(OK) });
    await closed;
    reply(await request(0), 'value');
    expect(String(await read)).toBe('value');
  });

  it('survive a handler that fails', async () => {
    const { connection, answer, reply, send, log } = stage();
    answer((request) => reply(request, OK));
    await connection.watch('a', () => {
      throw new Error('a bug');
    });
    send({ type: MessageType.WATCH_EVENT, payload: encodeTexts('a', 'w1') });
    await connection.read('x');
    expect(log.lines).toEqual(['error: the handler of a xenstore watch failed on a: Error: a bug']);
  });
});

describe('transactions', () => {
  /** Answers with ids from 11 on; each END gets the next of `ends` (then OK). */
  function transactional(ends: string[]) {
    const it = stage();
    let id = 10;
    it.answer((request) => {
      if (request.type === MessageType.TRANSACTION_START) return it.reply(request, `${++id}\0`);
      const end = request.type === MessageType.TRANSACTION_END ? ends.shift() : undefined;
      return end === undefined ? it.reply(request, OK) : it.refuse(request, end);
    });
    return {
      ...it,
      ends: () =>
        it.requests
          .filter(({ type }) => type === MessageType.TRANSACTION_END)
          .map(({ transactionId, payload }) => `${transactionId} ${decodeTexts(payload)[0]}`),
    };
  }

  it('carry their id in every request', async () => {
    const { connection, requests } = transactional([]);
    const value = await connection.transaction(async (access) => {
      await access.write('a', '1');
      return access.read('b');
    });
    expect(String(value)).toBe(OK);
    expect(requests.map(({ transactionId }) => transactionId)).toEqual([0, 11, 11, 11]);
  });

  it('are done again, as a whole, when there was a conflict or the domain has resumed', async () => {
    const { connection, ends } = transactional(['EAGAIN', 'ENOENT']);
    const work = vi.fn(async () => 'done');
    expect(await connection.transaction(work)).toBe('done');
    expect(work).toHaveBeenCalledTimes(3);
    expect(ends()).toEqual(['11 T', '12 T', '13 T']);
  });

  it('are abandoned by what the work throws', async () => {
    const { connection, ends } = transactional([]);
    const refusal = new Error('not like this');
    await expect(connection.transaction(() => Promise.reject(refusal))).rejects.toBe(refusal);
    expect(ends()).toEqual(['11 F']);
  });

  it('are done again when what the work has met meant the dead transaction', async () => {
    const { connection, ends } = transactional(['ENOENT']);
    let calls = 0;
    const value = await connection.transaction(async () => {
      calls += 1;
      if (calls === 1) throw new XenstoreError('ENOENT', 'READ a');
      return calls;
    });
    expect(value).toBe(2);
    expect(ends()).toEqual(['11 F', '12 T']);
  });

  it('are given up in a storm', async () => {
    const { connection, ends } = transactional(Array.from({ length: 100 }, () => 'EAGAIN'));
    await expect(connection.transaction(async () => {})).rejects.toMatchObject({ code: 'EAGAIN' });
    expect(ends()).toHaveLength(MAX_ATTEMPTS);
  });

  it('cannot be used when they are over', async () => {
    const { connection } = transactional([]);
    const access = await connection.transaction(async (inside) => inside);
    await expect(access.read('a')).rejects.toThrow('the transaction is over');
  });

  it('end with the connection, also in a pause', async () => {
    const { connection } = transactional(Array.from({ length: 100 }, () => 'EAGAIN'));
    const done = connection.transaction(async () => {});
    setImmediate(() => connection.close());
    await expect(done).rejects.toBeInstanceOf(XenstoreGone);
  });
});

describe('the end', () => {
  const bad: [string, Buffer][] = [
    ['too long a message', Buffer.from('02000000 01000000 00000000 01100000'.replaceAll(' ', ''), 'hex')],
    ['garbage', Buffer.alloc(64, 0xa5)],
    [
      'a reply to nothing',
      encodeMessage({ type: 2, requestId: 99, transactionId: 0, payload: Buffer.alloc(0) }),
    ],
    [
      'a reply of another type',
      encodeMessage({ type: 11, requestId: 1, transactionId: 0, payload: Buffer.from(OK) }),
    ],
    [
      'an event without a token',
      encodeMessage({ type: 15, requestId: 0, transactionId: 0, payload: encodeTexts('a') }),
    ],
  ];
  it.each(bad)('comes with %s, once', async (_what, bytes) => {
    const { connection, far } = stage();
    const first = connection.read('a');
    const second = connection.read('b');
    far.write(bytes);
    far.write(bytes);
    await expect(first).rejects.toBeInstanceOf(XenstoreGone);
    await expect(second).rejects.toBeInstanceOf(XenstoreGone);
    expect(await connection.ended).toBeInstanceOf(XenstoreGone);
    await expect(connection.read('c')).rejects.toBeInstanceOf(XenstoreGone);
  });

  it('of the stream in the middle of a message is told as such', async () => {
    const { connection, far } = stage();
    const read = connection.read('a');
    far.end(
      encodeMessage({ type: 2, requestId: 1, transactionId: 0, payload: Buffer.from('value') }).subarray(
        0,
        18,
      ),
    );
    await expect(read).rejects.toThrow('in the middle of a message');
  });

  it('by this side rejects what waits, at once', async () => {
    const { connection, near } = stage();
    const read = connection.read('a');
    const watch = connection.watch('b', () => {});
    connection.close();
    await expect(read).rejects.toBeInstanceOf(XenstoreGone);
    await expect(watch).rejects.toBeInstanceOf(XenstoreGone);
    expect(near.destroyed).toBe(true);
  });

  it('comes when a request is not answered, at the second look only', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const { connection } = stage({ answerTimeoutMs: 1_000 });
    const read = connection.read('a');
    let isOver = false;
    connection.ended.then(() => {
      isOver = true;
    });
    await vi.advanceTimersByTimeAsync(1_500);
    expect(isOver).toBe(false);
    vi.advanceTimersByTime(600);
    await expect(read).rejects.toThrow('no answer to READ a for 1 s');
    expect(vi.getTimerCount()).toBe(0);
  });

  it('leaves no timer when all is answered', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const { connection, answer, reply } = stage();
    answer((request) => reply(request, OK));
    await connection.read('a');
    expect(vi.getTimerCount()).toBe(0);
  });

  it('settles every request, whatever the store sends', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 6 }), async (chunks) => {
        const { connection, far } = stage();
        const requests = [connection.read('a'), connection.directory('b'), connection.watch('c', () => {})];
        for (const chunk of chunks) if (!far.destroyed) far.write(chunk);
        far.end();
        const settled = await Promise.allSettled(requests);
        expect(settled).toHaveLength(3);
        expect(await connection.ended).toBeInstanceOf(XenstoreGone);
      }),
      { numRuns: 50 },
    );
  });
});
