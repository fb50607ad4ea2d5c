/** What only C xenstored can tell: whether the embedded store does as it does, and what the client makes of its crash. */
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';
import { openLink } from '../../../src/protocols/xenstore/link.ts';
import { openTransport } from '../../../src/protocols/xenstore/transport.ts';
import { MessageType } from '../../../src/protocols/xenstore/wire.ts';
import { XenstoreGone } from '../../../src/protocols/xenstore/xenstore.ts';
import { startEmbeddedStore } from '../../support/embedded-store.ts';
import { recordingLog } from '../../support/quiet-log.ts';
import { type RawClient, rawClient } from '../../support/raw-store-client.ts';
import { type TestStore, until } from '../../support/test-store.ts';
import { startXenstored, type Xenstored, xenstoredMissing } from '../../support/xenstored.ts';

const missing = xenstoredMissing();
beforeEach((context) => {
  if (missing !== undefined) context.skip(missing);
});

type Who = 'guest' | 'host';
/** `tx`: in that client's open transaction. */
interface Step {
  who: Who;
  type: keyof typeof MessageType;
  /** `|` is a NUL. */
  payload: string;
  tx?: boolean;
}

/** One of the two stores with a guest and a toolstack that speak raw messages. */
async function openClients(store: TestStore, id: number) {
  await store.domainUp(id, { uuid: `00000000-0000-0000-0000-00000000000${id % 10}`, name: 'guest' });
  const clients: Record<Who, RawClient> = {
    guest: await rawClient(store.guestSocket(id)),
    host: await rawClient(store.toolstackSocket),
  };
  const transactions: Record<Who, number> = { guest: 0, host: 0 };
  return {
    async run({ who, type, payload, tx = false }: Step): Promise<Record<string, string[]>> {
      const got: string[] = [];
      if (type === 'TRANSACTION_START' && !tx) {
        transactions[who] = await clients[who].start();
        got.push(transactions[who] > 0 ? 'started' : 'not started');
      } else {
        const bytes = Buffer.from(payload.replaceAll('$', String(id)).replaceAll('|', '\0'), 'latin1');
        const lines = await clients[who].ask(MessageType[type], bytes, tx ? transactions[who] || 999_999 : 0);
        got.push(...lines.map((line) => line.replace(/^DIRECTORY_PART [0-9]+/, 'DIRECTORY_PART 0')));
      }
      // an event of the asker's may come with the reply or a moment later
      const rest = { guest: await clients.guest.rest(), host: await clients.host.rest() };
      return { ...rest, [who]: [...got, ...rest[who]] };
    },
    async end() {
      clients.guest.close();
      clients.host.close();
      await store.domainDown(id);
    },
  };
}

describe('the embedded store', () => {
  let real: TestStore;
  let embedded: TestStore;
  let id = 0;

  beforeAll(async () => {
    if (missing !== undefined) return;
    real = await startXenstored();
    embedded = await startEmbeddedStore();
  });
  afterAll(async () => {
    await real?.stop();
    await embedded?.stop();
  });

  /** Both stores' answers and events, step by step. */
  async function compare(steps: readonly Step[]): Promise<void> {
    id += 1;
    const there = await openClients(real, id);
    const here = await openClients(embedded, id);
    try {
      for (const [i, step] of steps.entries()) {
        const expected = await there.run(step);
        expect(await here.run(step), `step ${i}: ${JSON.stringify(step)}`).toEqual(expected);
      }
    } finally {
      await there.end();
      await here.end();
    }
  }

  const guest = (type: Step['type'], payload: string, tx = false): Step => ({
    who: 'guest',
    type,
    payload,
    tx,
  });
  const host = (type: Step['type'], payload: string, tx = false): Step => ({
    who: 'host',
    type,
    payload,
    tx,
  });
  const home = '/local/domain/$';

  const scripts: Record<string, Step[]> = {
    'malformed paths': [
      // a path without a NUL, or with more behind it, gets whatever error the C library had last
      ...['data/a.b|', 'data/a b|', 'data/|', 'data//a|', '|', '@x|', '/|', 'data/@-_|'].flatMap((payload) =>
        (['READ', 'DIRECTORY', 'GET_PERMS', 'MKDIR', 'RM'] as const).map((type) => guest(type, payload)),
      ),
      guest('WRITE', 'data/a'),
      guest('WRITE', 'data/a|'),
      guest('READ', 'data/a|'),
      guest('WRITE', ''),
      guest('WRITE', `data/${'a'.repeat(2043)}|x`),
      guest('WRITE', `data/${'a'.repeat(2044)}|x`),
      guest('READ', `data/${'a'.repeat(2044)}|`),
      guest('READ', `data/${'a'.repeat(2043)}|`),
      guest('READ', `/${'a'.repeat(2047)}|`),
      guest('READ', `/${'a'.repeat(2048)}|`),
      guest('READ', `${'a'.repeat(4095)}|`),
    ],
    'nodes that are not there, or not to be seen': [
      guest('READ', 'nope|'),
      guest('READ', 'data/nope/nope|'),
      guest('RM', 'data/nope|'),
      guest('RM', 'data/nope/nope|'),
      guest('READ', '/local/domain/0/name|'),
      guest('READ', '/local/domain/99999/nope|'),
      guest('DIRECTORY', '/local/domain|'),
      guest('DIRECTORY', '/|'),
      guest('GET_PERMS', '/vm|'),
      guest('DIRECTORY', '|'),
      guest('WRITE', 'name|x'),
      guest('WRITE', 'new|x'),
      guest('MKDIR', 'new|'),
      guest('MKDIR', 'name|'),
      guest('RM', 'name|'),
      guest('WRITE', 'memory/target|x'),
      guest('DIRECTORY', `${home}|`),
      guest('GET_DOMAIN_PATH', '77|'),
      guest('GET_DOMAIN_PATH', ''),
    ],
    permissions: [
      guest('GET_PERMS', 'data|'),
      guest('SET_PERMS', 'data|n$|r0|'),
      guest('WRITE', 'data/x/y|1'),
      guest('GET_PERMS', 'data/x/y|'),
      guest('SET_PERMS', 'data|n0|'),
      guest('SET_PERMS', 'data|x$|'),
      guest('SET_PERMS', 'data|n|'),
      guest('SET_PERMS', 'data|'),
      guest('SET_PERMS', 'data|n$|r0|r0|r0|r0|'),
      guest('SET_PERMS', 'data|n$|r0|r0|r0|r0|r0|'),
      guest('SET_PERMS', 'name|n$|'),
      guest('SET_PERMS', 'nope|n$|'),
      host('SET_PERMS', `${home}/data|r0|w$|`),
      guest('READ', 'data|'),
      guest('WRITE', 'data|2'),
      guest('WRITE', 'data/new|2'),
      guest('READ', 'data/new|'),
      host('GET_PERMS', `${home}/data/new|`),
      guest('SET_PERMS', 'data|w0|'),
    ],
    sizes: [
      guest('WRITE', `data/a|${'x'.repeat(2015)}`),
      guest('WRITE', `data/a|${'x'.repeat(2016)}`),
      guest('WRITE', `data/b|${'x'.repeat(2016)}`),
      guest('READ', 'data/b|'),
      guest('SET_PERMS', 'data/a|n$|r0|'),
      host('WRITE', `${home}/data/c|${'x'.repeat(4000)}`),
      guest('READ', 'data/c|'),
      guest('DIRECTORY_PART', 'data|0|'),
      guest('DIRECTORY_PART', 'data|2|'),
      guest('DIRECTORY_PART', 'data|100|'),
      guest('DIRECTORY_PART', 'data|'),
      guest('DIRECTORY_PART', 'nope|0|'),
    ],
    watches: [
      guest('WATCH', 'data|t|'),
      guest('WATCH', 'data|t|'),
      guest('WATCH', `${home}/data|absolute|`),
      guest('WATCH', 'data/x/y|below|'),
      guest('WATCH', '/|root|'),
      guest('WATCH', '@releaseDomain|special|'),
      guest('WATCH', 'a.b|t|'),
      guest('WATCH', 'data|'),
      guest('WATCH', 'data|t'),
      host('WATCH', 'data|t|3|'),
      host('WATCH', 'data|t'),
      guest('UNWATCH', 'data|other|'),
      guest('WRITE', 'data/x/y|1'),
      guest('WRITE', 'data/x/y|1'),
      guest('MKDIR', 'data/x|'),
      guest('MKDIR', 'data/m/n|'),
      guest('WRITE', 'data/x/y/z|1'),
      guest('RM', 'data/x|'),
      guest('RM', 'data/x|'),
      guest('SET_PERMS', 'data|n$|r0|'),
      host('SET_PERMS', `${home}/data|n0|`),
      guest('READ', 'domid|'),
      host('WRITE', `${home}/data/hidden|1`),
      guest('READ', 'domid|'),
      guest('UNWATCH', 'data|t|'),
      host('SET_PERMS', `${home}/data|n$|`),
      guest('READ', 'domid|'),
    ],
    transactions: [
      guest('WATCH', 'data|t|'),
      guest('TRANSACTION_START', '|'),
      guest('TRANSACTION_START', '|', true),
      guest('WRITE', 'data/b/c|1', true),
      guest('WRITE', 'data/a|1', true),
      guest('WRITE', 'data/a|2', true),
      guest('READ', 'data/a|', true),
      guest('READ', 'data/a|'),
      guest('DIRECTORY', 'data|', true),
      guest('TRANSACTION_END', 'X|', true),
      guest('TRANSACTION_END', 'T|', true),
      guest('TRANSACTION_END', 'T|', true),
      guest('TRANSACTION_END', 'T|'),
      guest('READ', 'data/a|', true),
      guest('TRANSACTION_START', '|'),
      guest('RM', 'data/b|', true),
      guest('SET_PERMS', 'data/a|n$|r0|', true),
      guest('TRANSACTION_END', 'T|', true),
      guest('DIRECTORY', 'data|'),
      guest('TRANSACTION_START', '|'),
      guest('RM', 'data|', true),
      guest('TRANSACTION_END', 'F|', true),
      guest('DIRECTORY', 'data|'),
    ],
    'conflicts of the same node': [
      guest('TRANSACTION_START', '|'),
      guest('READ', 'data|', true),
      host('WRITE', `${home}/data|x`),
      guest('TRANSACTION_END', 'T|', true),
      guest('TRANSACTION_START', '|'),
      guest('WRITE', 'data/a|1', true),
      host('WRITE', `${home}/data/b|1`),
      guest('TRANSACTION_END', 'T|', true),
      guest('TRANSACTION_START', '|'),
      guest('WRITE', 'data/b|2', true),
      host('WRITE', `${home}/data/c|1`),
      guest('TRANSACTION_END', 'T|', true),
      guest('TRANSACTION_START', '|'),
      guest('READ', 'data/none|', true),
      host('WRITE', `${home}/data/other|1`),
      guest('TRANSACTION_END', 'T|', true),
      guest('TRANSACTION_START', '|'),
      guest('READ', 'data/b|', true),
      host('RM', `${home}/data/b|`),
      guest('TRANSACTION_END', 'T|', true),
    ],
    'what is the toolstack’s': [
      guest('INTRODUCE', '1|1|1|'),
      guest('RELEASE', '1|'),
      guest('IS_DOMAIN_INTRODUCED', '1|'),
      guest('CONTROL', 'help|'),
      guest('SET_TARGET', '1|1|'),
      host('IS_DOMAIN_INTRODUCED', '$|'),
      host('IS_DOMAIN_INTRODUCED', '0|'),
      host('IS_DOMAIN_INTRODUCED', '999|'),
      host('IS_DOMAIN_INTRODUCED', ''),
      host('GET_DOMAIN_PATH', '12|'),
      host('RELEASE', '999|'),
      host('RELEASE', ''),
      host('RM', '/|'),
      guest('ERROR', 'x|'),
      guest('WATCH_EVENT', 'a|b|'),
    ],
  };

  it.each(Object.entries(scripts))('does as C xenstored: %s', async (_name, steps) => {
    await compare(steps);
  });

  it('has the same limits of watches and transactions', async () => {
    await compare([
      ...Array.from({ length: 131 }, (_, i) => guest('WATCH', `data|t${i}|`)),
      ...Array.from({ length: 13 }, () => guest('TRANSACTION_START', '|')),
    ]);
  });

  it('has the same limit of nodes', async () => {
    await compare([
      ...Array.from({ length: 1_010 }, (_, i) => guest('WRITE', `data/${i % 10}/${Math.floor(i / 10)}|`)),
      guest('WRITE', 'data/0/0|again'),
      guest('RM', 'data/1|'),
      guest('WRITE', 'data/new|'),
    ]);
  });

  it('does as C xenstored, whatever two clients do', async () => {
    const path = fc.constantFrom(
      'data',
      'data/a',
      'data/a/b',
      'data/a/b/c',
      'data/d',
      'vm-data',
      'vm-data/x',
      'name',
      'nope',
    );
    const step = fc
      .record({
        who: fc.constantFrom<Who>('guest', 'guest', 'host'),
        type: fc.constantFrom<Step['type']>(
          'READ',
          'WRITE',
          'WRITE',
          'WRITE',
          'MKDIR',
          'RM',
          'DIRECTORY',
          'GET_PERMS',
          'SET_PERMS',
          'WATCH',
          'UNWATCH',
          'TRANSACTION_START',
          'TRANSACTION_END',
        ),
        path,
        tx: fc.boolean(),
        letter: fc.constantFrom('n', 'r', 'w', 'b'),
        owner: fc.constantFrom('$', '$', '0'),
      })
      .map(({ who, type, path, tx, letter, owner }): Step => {
        const full = who === 'host' ? `${home}/${path}` : path;
        const payloads: Partial<Record<Step['type'], string>> = {
          WRITE: `${full}|v`,
          SET_PERMS: `${full}|${letter}${owner}|r0|`,
          // C xenstored sends an event only once while an equal one waits, so no two watches may have the same token
          WATCH: `${full}|of-${path}|`,
          UNWATCH: `${full}|of-${path}|`,
          TRANSACTION_START: '|',
          TRANSACTION_END: letter === 'n' ? 'F|' : 'T|',
        };
        return { who, type, payload: payloads[type] ?? `${full}|`, tx: tx && type !== 'TRANSACTION_START' };
      });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
        await compare(steps);
      }),
      { numRuns: Number(process.env.CHR_AGENT_RUNS ?? 25), interruptAfterTimeLimit: 25_000 },
    );
  });
});

describe('a crash of xenstored', () => {
  let store: Xenstored | undefined;
  afterEach(() => store?.stop());

  it('rejects what waits; the link connects again, and its watches stand', async () => {
    store = await startXenstored();
    await store.domainUp(1);
    const log = recordingLog();
    const path = store.guestSocket(1);
    const link = openLink({
      log,
      open: () => openTransport(native, path),
      onState: () => {},
      firstPauseMs: 20,
      longestPauseMs: 100,
    });
    const events: string[] = [];
    await link.watch('vm-data/script', (at) => events.push(at));
    await until('the first event', () => events.length === 1);
    // whatever the store is doing then
    const requests = Array.from({ length: 200 }, (_, i) => link.write('data/x', String(i)));
    await requests[0];
    const settled = Promise.allSettled(requests);
    await store.kill();
    for (const result of await settled)
      if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(XenstoreGone);
    await expect(link.read('domid')).rejects.toBeInstanceOf(XenstoreGone);
    await delay(200);
    expect(log.lines.length).toBeLessThanOrEqual(3);

    await store.restart();
    await store.domainUp(1);
    await until('the watch', () => events.length === 2);
    expect(String(await link.read('domid'))).toBe('1');
    await link.write('vm-data/script', 'x');
    expect(events).toEqual(Array.from({ length: 3 }, () => 'vm-data/script'));
    link.stop();
  });
});
