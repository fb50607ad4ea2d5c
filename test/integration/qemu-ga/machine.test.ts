/**
 * Processors, memory blocks, users, routes and suspending on a machine made of files (spec qemu-ga.md section 5): what would
 * act is recorded only.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createAccounts } from '../../../src/guest/accounts.ts';
import { switchCpu } from '../../../src/guest/cpus.ts';
import { createGuest } from '../../../src/guest/guest.ts';
import { switchMemoryBlock } from '../../../src/guest/memory.ts';
import type { SuspendResult } from '../../../src/guest/suspend.ts';
import { native } from '../../../src/native/index.ts';
import { type FakeRoot, makeFakeRoot } from '../../support/fake-root.ts';
import { LineClient } from '../../support/line-client.ts';
import { type OurAgent, startOurAgent } from '../../support/qga-service.ts';
import { recordingLog } from '../../support/quiet-log.ts';
import { utmpFile } from '../../support/utmp.ts';

const CPU = 'sys/devices/system/cpu';
const MEMORY = 'sys/devices/system/memory';
const ZERO = '0'.repeat(32);

let root: FakeRoot;
let agent: OurAgent;
let client: LineClient;
let done: unknown[];
let suspended: SuspendResult;
/** -errno by CPU or block. */
const failures: Record<number, number> = { 3: -16 };

beforeAll(async () => {
  root = makeFakeRoot({
    'proc/stat': 'cpu 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 1844674407370955161 2 3 4\n',
    'proc/loadavg': '0.07 0.50 12.00 1/2 3\n',
    'proc/net/route': 'Iface\neth0\t00000000\t010200C0\t0003\t0\t0\t-1\t00000000\t0\t0\t0\n',
    'proc/net/ipv6_route': `${ZERO} 00 ${ZERO} 00 ${ZERO} ffffffff 00000001 00000000 80200200       lo\n`,
    'var/run/utmp': utmpFile([
      { type: 7, user: 'joe', seconds: 1700000000, microseconds: 500001 },
      { type: 7, user: 'joe', seconds: 1600000000, microseconds: 0 },
    ]),
    [`${CPU}/cpu0/`]: '',
    [`${CPU}/cpu1/online`]: '1\n',
    [`${CPU}/cpu2/online`]: '0\n',
    [`${CPU}/cpu3/online`]: '0\n',
    [`${MEMORY}/block_size_bytes`]: '8000000\n',
    [`${MEMORY}/memory0/`]: '',
    [`${MEMORY}/memory1/state`]: 'online\n',
    [`${MEMORY}/memory1/removable`]: '1\n',
    [`${MEMORY}/memory3/state`]: 'offline\n',
  });
  const real = createGuest({
    native,
    log: recordingLog(),
    noActions: true,
    testRoot: null,
    osReleaseFile: null,
    tzVariable: undefined,
    root: root.path,
  });
  const record =
    (what: string) =>
    async (...args: unknown[]): Promise<number> => {
      done.push([what, ...args]);
      return failures[Number(args[0])] ?? 0;
    };
  const actions = {
    ...real.actions,
    setCpuOnline: record('cpu'),
    setMemoryBlockOnline: record('memory'),
    suspend: async (mode: string) => {
      done.push(['suspend', mode]);
      return suspended;
    },
  };
  const context = { actions, root: root.path };
  agent = await startOurAgent({
    guest: {
      ...real,
      actions,
      accounts: createAccounts(context),
      switchCpu: (number, online) => switchCpu(number, online, context),
      switchMemoryBlock: (index, online) => switchMemoryBlock(index, online, context),
    },
  });
  client = new LineClient(agent.socketPath);
});
afterAll(async () => {
  await client.close();
  await agent.stop();
  root[Symbol.dispose]();
});
beforeEach(() => {
  done = [];
});

/** The reply as it is on the wire: JSON.parse would round its numbers. */
async function line(name: string, args = '{}'): Promise<string> {
  client.send(`{"execute":"${name}","arguments":${args}}\n`);
  return (await client.readThrough('\n')).toString();
}

describe('facts', () => {
  it('guest-get-cpustats counts in ms, exactly', async () => {
    expect(await line('guest-get-cpustats')).toBe(
      '{"return": [{"type": "linux", "cpu": 0, "user": 10, "nice": 20, "system": 30, "idle": 40, "iowait": 50, "irq": 60, ' +
        '"softirq": 70, "steal": 80, "guest": 90, "guestnice": 100}, {"type": "linux", "cpu": 1, ' +
        '"user": 18446744073709551610, "nice": 20, "system": 30, "idle": 40}]}\n',
    );
  });

  it('guest-get-load prints doubles', async () => {
    expect(await line('guest-get-load')).toBe(
      '{"return": {"load1m": 0.070000000000000007, "load5m": 0.5, "load15m": 12}}\n',
    );
  });

  it('guest-get-users', async () => {
    expect(await client.result('guest-get-users')).toEqual([{ user: 'joe', 'login-time': 1600000000 }]);
  });

  it('guest-network-get-route: IPv4 first, numbers unsigned, prefix lengths as text', async () => {
    expect(await client.result('guest-network-get-route')).toEqual([
      {
        iface: 'eth0',
        destination: '0.0.0.0',
        metric: 4294967295,
        gateway: '192.0.2.1',
        mask: '0.0.0.0',
        irtt: 0,
        flags: 3,
        refcnt: 0,
        use: 0,
        window: 0,
        mtu: 0,
        version: 4,
      },
      {
        iface: 'lo',
        destination: '::',
        metric: 4294967295,
        flags: 2149581312,
        refcnt: 1,
        use: 0,
        version: 6,
        source: '::',
        nexthop: '::',
        desprefixlen: '0',
        srcprefixlen: '0',
      },
    ]);
  });

  it('guest-get-vcpus', async () => {
    const found = (await client.result('guest-get-vcpus')) as { 'logical-id': number }[];
    expect(found.sort((a, b) => a['logical-id'] - b['logical-id'])).toEqual([
      { 'logical-id': 0, online: true, 'can-offline': false },
      { 'logical-id': 1, online: true, 'can-offline': true },
      { 'logical-id': 2, online: false, 'can-offline': true },
      { 'logical-id': 3, online: false, 'can-offline': true },
    ]);
  });

  it('guest-get-memory-blocks and -block-info', async () => {
    const found = (await client.result('guest-get-memory-blocks')) as { 'phys-index': number }[];
    expect(found.sort((a, b) => a['phys-index'] - b['phys-index'])).toEqual([
      { 'phys-index': 0, online: true, 'can-offline': false },
      { 'phys-index': 1, online: true, 'can-offline': true },
      { 'phys-index': 3, online: false, 'can-offline': false },
    ]);
    expect(await client.result('guest-get-memory-block-info')).toEqual({ size: 134217728 });
  });
});

describe('guest-set-vcpus', () => {
  const set = (vcpus: unknown) => client.result('guest-set-vcpus', { vcpus });
  const vcpu = (number: number, online: boolean) => ({ 'logical-id': number, online });

  it('counts the start of the list that went well', async () => {
    expect(await set([])).toBe(0);
    expect(await set([vcpu(0, true), { ...vcpu(1, false), 'can-offline': false }, vcpu(2, true)])).toBe(3);
    expect(done).toEqual([
      ['cpu', 1, false],
      ['cpu', 2, true],
    ]);
  });

  it.each([vcpu(0, false), vcpu(3, true), vcpu(9, true), vcpu(-1, false)])(
    'stops at %o, which is no error behind the first',
    async (bad) => {
      expect(await set([vcpu(2, true), bad, vcpu(1, false)])).toBe(1);
      expect(done[0]).toEqual(['cpu', 2, true]);
      expect(done).not.toContainEqual(['cpu', 1, false]);
    },
  );

  it.each<[object, string]>([
    [vcpu(0, false), "logical processor #0 can't be offlined"],
    [vcpu(9, true), `open("ROOT/${CPU}/cpu9/"): No such file or directory`],
    [vcpu(-1, true), `open("ROOT/${CPU}/cpu-1/"): No such file or directory`],
    [vcpu(3, true), `pwrite("ROOT/${CPU}/cpu3//online"): Device or resource busy`],
  ])('%o alone: %s', async (only, text) => {
    expect(await client.command('guest-set-vcpus', { vcpus: [only, vcpu(1, false)] })).toEqual({
      error: { class: 'GenericError', desc: text.replace('ROOT', root.path) },
    });
    expect(done).not.toContainEqual(['cpu', 1, false]);
  });

  it.each([
    ['{"vcpus":[{"logical-id":1}]}', "Parameter 'vcpus[0].online' is missing"],
    [
      '{"vcpus":[{"logical-id":9223372036854775808,"online":false}]}',
      "Invalid parameter type for 'vcpus[0].logical-id', expected: integer",
    ],
    [
      '{"vcpus":[{"logical-id":1,"online":false},1]}',
      "Invalid parameter type for 'vcpus[1]', expected: object",
    ],
    ['{"vcpus":{}}', "Invalid parameter type for 'vcpus', expected: array"],
    ['{}', "Parameter 'vcpus' is missing"],
    ['{"vcpus":[{"logical-id":1,"online":false,"x":1}]}', "Parameter 'vcpus[0].x' is unexpected"],
  ])('%s: nothing is done', async (args, text) => {
    const reply = JSON.parse(await line('guest-set-vcpus', args));
    expect(reply).toEqual({ error: { class: 'GenericError', desc: text } });
    expect(done).toEqual([]);
  });
});

describe('guest-set-memory-blocks', () => {
  it('answers for each block', async () => {
    const blocks = [
      [1, true],
      [1, false],
      [0, true],
      [0, false],
      [3, true],
      [7, false],
    ].map(([index, online]) => ({ 'phys-index': index, online }));
    expect(await client.result('guest-set-memory-blocks', { 'mem-blks': blocks })).toEqual([
      { 'phys-index': 1, response: 'success' },
      { 'phys-index': 1, response: 'success' },
      { 'phys-index': 0, response: 'success' },
      { 'phys-index': 0, response: 'operation-not-supported', 'error-code': 2 },
      { 'phys-index': 3, response: 'operation-failed', 'error-code': 16 },
      { 'phys-index': 7, response: 'not-found', 'error-code': 2 },
    ]);
    expect(done).toEqual([
      ['memory', 1, false],
      ['memory', 3, true],
    ]);
  });

  it.each(['18446744073709551615', '-1'])('index %s is unsigned', async (index) => {
    expect(
      await line('guest-set-memory-blocks', `{"mem-blks":[{"phys-index":${index},"online":true}]}`),
    ).toBe('{"return": [{"phys-index": 18446744073709551615, "response": "not-found", "error-code": 2}]}\n');
  });

  it.each([
    [
      '{"mem-blks":[{"phys-index":1.0,"online":true}]}',
      "Invalid parameter type for 'mem-blks[0].phys-index', expected: integer",
    ],
    [
      '{"mem-blks":[{"phys-index":18446744073709551616,"online":true}]}',
      "Invalid parameter type for 'mem-blks[0].phys-index', expected: integer",
    ],
    [
      '{"mem-blks":[{"phys-index":1,"online":1}]}',
      "Invalid parameter type for 'mem-blks[0].online', expected: boolean",
    ],
  ])('%s: nothing is done', async (args, text) => {
    expect(JSON.parse(await line('guest-set-memory-blocks', args))).toEqual({
      error: { class: 'GenericError', desc: text },
    });
    expect(done).toEqual([]);
  });
});

describe('guest-suspend', () => {
  it.each(['disk', 'ram', 'hybrid'])('%s is silent when it works', async (mode) => {
    suspended = { kind: 'done' };
    client.send(`{"execute":"guest-suspend-${mode}"}\n{"execute":"guest-ping"}\n`);
    expect((await client.readThrough('\n')).toString()).toBe('{"return": {}}\n');
    expect(done).toEqual([['suspend', mode]]);
  });

  it.each<[SuspendResult, string]>([
    [{ kind: 'unsupported' }, 'the requested suspend mode is not supported by the guest'],
    [{ kind: 'failed', errno: 5 }, 'child process has failed to suspend: Input/output error'],
  ])('%o is told', async (result, desc) => {
    suspended = result;
    expect(await client.command('guest-suspend-ram')).toEqual({ error: { class: 'GenericError', desc } });
  });

  it('is refused where the run takes no actions', async () => {
    const plain = await startOurAgent();
    const other = new LineClient(plain.socketPath);
    const reply = await other.command('guest-suspend-ram');
    expect(reply.error?.desc).toMatch(/^refused: this run may not suspend the machine/);
    await other.close();
    await plain.stop();
  });
});
