/**
 * The drop-in (issue: `chr-agent qemu-ga` in the place of qemu-ga): the same requests to both, and the same replies but for what
 * docs/compatibility.md lists. Newer schemas than the reference's 7.2 are tested elsewhere.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AgentPair, startAgentPair } from '../../support/agent-pair.ts';
import { LineClient, type Reply } from '../../support/line-client.ts';
import { referenceMissing } from '../../support/reference-agent.ts';

const missing = referenceMissing();
const skip =
  process.env.CI === undefined && (missing ?? (process.getuid?.() === 0 ? undefined : 'needs root'));
if (skip) console.log(`differential test skipped: ${skip}`);

type Json = NonNullable<Reply['return']> | null;
const base64 = (text: string) => Buffer.from(text).toString('base64');

describe.skipIf(skip)('qemu-ga and chr-agent qemu-ga', () => {
  let pair: AgentPair;
  let theirs: LineClient;
  let ours: LineClient;
  beforeAll(async () => {
    pair = await startAgentPair();
    theirs = new LineClient(pair.theirs);
    ours = new LineClient(pair.ours);
    mkdirSync(join(pair.directory, 'data'));
    writeFileSync(join(pair.directory, 'data/text'), 'hello world\n');
  });
  afterAll(async () => {
    await theirs.close();
    await ours.close();
    await pair.stop();
  });

  /** The replies of both to one request; `forEach` makes it from the agent's name. */
  async function both(request: object | ((agent: 'theirs' | 'ours') => object)): Promise<[Reply, Reply]> {
    const replies: Reply[] = [];
    for (const [name, client] of [
      ['theirs', theirs],
      ['ours', ours],
    ] as const) {
      client.send(`${JSON.stringify(typeof request === 'function' ? request(name) : request)}\n`);
      replies.push(await client.reply());
    }
    return replies as [Reply, Reply];
  }

  async function same(request: object): Promise<Reply> {
    const [expected, actual] = await both(request);
    expect(actual).toEqual(expected);
    return actual;
  }

  /** The kinds of values, with all members of all entries of a list in one. */
  function shape(value: Json | undefined): unknown {
    if (Array.isArray(value)) {
      const members: Record<string, unknown> = {};
      const others = new Set<unknown>();
      for (const entry of value) {
        const kind = shape(entry);
        if (typeof kind === 'object' && kind !== null && !Array.isArray(kind)) Object.assign(members, kind);
        else others.add(kind);
      }
      return [members, ...others];
    }
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, shape(member)]));
    }
    return typeof value;
  }

  async function sameShape(request: object): Promise<[Reply, Reply]> {
    const [expected, actual] = await both(request);
    expect(shape(actual.return)).toEqual(shape(expected.return));
    expect(actual.error?.class).toBe(expected.error?.class);
    return [expected, actual];
  }

  describe('requests', () => {
    it.each<object>([
      { execute: 'guest-ping' },
      { execute: 'guest-ping', id: [1, { a: 'b' }] },
      { execute: 'guest-ping', arguments: {} },
      { execute: 'guest-ping', arguments: { x: 1 } },
      { execute: 'guest-sync', arguments: { id: 42 } },
      { execute: 'guest-sync', arguments: {} },
      { execute: 'guest-sync', arguments: { id: 'x' } },
      { execute: 'guest-nope' },
      { execute: 'Guest-Ping' },
      { execute: 5 },
      { arguments: {} },
      { execute: 'guest-ping', arguments: [] },
      { execute: 'guest-ping', extra: 1 },
      { execute: 'guest-get-host-name' },
      { execute: 'guest-get-timezone' },
      { execute: 'guest-get-osinfo' },
      { execute: 'guest-network-get-interfaces' },
      { execute: 'guest-set-time', arguments: { time: 4_000_000_000_000_000_000 } },
      { execute: 'guest-shutdown', arguments: { mode: 'explode' } },
      { execute: 'guest-shutdown', arguments: { mode: 1 } },
    ])('%j', async (request) => {
      await same(request);
    });

    it.each<object>([{ id: 7 }, { id: -1 }, {}, { id: 'x' }])(
      'guest-sync-delimited %j, byte for byte',
      async (args) => {
        const lines: string[] = [];
        for (const client of [theirs, ours]) {
          client.send(`${JSON.stringify({ execute: 'guest-sync-delimited', arguments: args })}\n`);
          lines.push((await client.readThrough('\n')).toString('latin1'));
        }
        // an error's members may come in any order
        if ('id' in args && typeof args.id === 'number') expect(lines[1]).toBe(lines[0]);
        else expect(JSON.parse(lines[1] ?? '')).toEqual(JSON.parse(lines[0] ?? ''));
      },
    );

    it('guest-get-time within a second', async () => {
      const [expected, actual] = await sameShape({ execute: 'guest-get-time' });
      expect(Math.abs(Number(actual.return) - Number(expected.return))).toBeLessThan(1e9);
    });

    it('guest-info: all commands of 7.2 that Linux has, with the same flags', async () => {
      const [expected, actual] = await both({ execute: 'guest-info' });
      type Info = { supported_commands: { name: string; enabled: boolean; 'success-response': boolean }[] };
      const known = new Map((actual.return as Info).supported_commands.map((each) => [each.name, each]));
      const lacking: string[] = [];
      for (const each of (expected.return as Info).supported_commands) {
        // Windows only: 7.2 lists it as disabled, 10.x not at all
        if (each.name === 'guest-get-devices') continue;
        const our = known.get(each.name);
        const flags = ({ enabled, 'success-response': answers }: typeof each) => `${enabled} ${answers}`;
        if (our === undefined || flags(our) !== flags(each)) lacking.push(each.name);
      }
      expect(lacking).toEqual([]);
    });
  });

  describe('files', () => {
    const open = async (path: string, mode?: string) => {
      const [expected, actual] = await both({
        execute: 'guest-file-open',
        arguments: { path, ...(mode !== undefined && { mode }) },
      });
      expect(typeof actual.return).toBe(typeof expected.return);
      return { theirs: expected.return as number, ours: actual.return as number };
    };
    type Handles = Awaited<ReturnType<typeof open>>;
    const use = async (command: string, handles: Handles, args: object = {}) => {
      const [expected, actual] = await both((agent) => ({
        execute: `guest-file-${command}`,
        arguments: { handle: handles[agent], ...args },
      }));
      expect(actual).toEqual(expected);
    };

    it('reading, seeking and the end', async () => {
      const handles = await open(join(pair.directory, 'data/text'));
      for (const [command, args] of [
        ['read', { count: 5 }],
        ['read', {}],
        ['read', {}],
        ['seek', { offset: 0, whence: 0 }],
        ['read', { count: 12 }],
        ['read', { count: 1 }],
        ['seek', { offset: -3, whence: 'end' }],
        ['seek', { offset: 1, whence: 'cur' }],
        ['read', { count: 100 }],
        ['seek', { offset: 100, whence: 'set' }],
        ['read', { count: 1 }],
        ['seek', { offset: -1, whence: 'set' }],
        ['seek', { offset: 0, whence: 7 }],
        ['seek', { offset: 0, whence: 'mid' }],
        ['seek', { offset: 0, whence: true }],
        ['seek', { offset: 0 }],
        ['read', { count: -1 }],
        ['read', { count: 50_331_649 }],
        ['read', { count: 'x' }],
        ['flush', {}],
        ['close', {}],
      ] as const) {
        await use(command, handles, args);
      }
    });

    it('writing', async () => {
      const handles = await open(join(pair.directory, 'data/out'), 'w+');
      for (const [command, args] of [
        ['write', { 'buf-b64': base64('hello world') }],
        ['write', { 'buf-b64': base64('again'), count: 2 }],
        ['write', { 'buf-b64': base64('again'), count: 6 }],
        ['write', { 'buf-b64': base64('again'), count: -1 }],
        ['write', { 'buf-b64': 'QUI' }],
        ['write', { 'buf-b64': 'QUJDQUI' }],
        ['write', { 'buf-b64': 'QUI=QUI=' }],
        ['write', { 'buf-b64': 'QU\nJD' }],
        ['write', { 'buf-b64': 'QU JD' }],
        ['write', { 'buf-b64': 'QU-_' }],
        ['write', { 'buf-b64': '' }],
        ['write', {}],
        ['flush', {}],
        ['seek', { offset: 0, whence: 0 }],
        ['read', { count: 1000 }],
        ['close', {}],
      ] as const) {
        await use(command, handles, args);
      }
    });

    it.each([
      ['/no/such/file', 'r'],
      ['/no/such/file', 'w'],
      ['/tmp', 'w'],
      ['/etc/passwd', 'x'],
      ['/etc/passwd', ''],
    ])('%s in mode %j', async (path, mode) => {
      await same({ execute: 'guest-file-open', arguments: { path, mode } });
    });

    it('a directory opens and cannot be read', async () => {
      const handles = await open('/tmp');
      await use('read', handles);
      await use('close', handles);
    });

    it.each(['read', 'close', 'flush', 'seek', 'write'])('an unknown handle: %s', async (command) => {
      const more =
        command === 'seek' ? { offset: 0, whence: 0 } : command === 'write' ? { 'buf-b64': '' } : {};
      await same({ execute: `guest-file-${command}`, arguments: { handle: 99_999, ...more } });
    });
  });

  describe('programs', () => {
    const lastStatus = async (client: LineClient, pid: number): Promise<Json> => {
      for (;;) {
        const status = await client.result('guest-exec-status', { pid });
        if ((status as { exited: boolean }).exited) return status;
        await delay(5);
      }
    };
    it.each<object>([
      { path: '/bin/true' },
      { path: '/bin/false' },
      { path: 'true' },
      { path: 'sh', arg: ['-c', 'exit 7'] },
      { path: 'sh', arg: ['-c', 'kill -9 $$'] },
      { path: 'sh', arg: ['-c', 'echo out; echo err >&2'], 'capture-output': true },
      { path: 'sh', arg: ['-c', 'echo out; echo err >&2'], 'capture-output': false },
      { path: 'cat', 'input-data': base64('from the host\n'), 'capture-output': true },
      { path: 'true', 'input-data': base64('x'.repeat(200_000)), 'capture-output': true },
      { path: 'env', env: ['A=1', 'B=2'], 'capture-output': true },
      { path: 'env', env: [], 'capture-output': true },
      { path: 'pwd', 'capture-output': true },
      { path: 'sh', arg: ['-c', 'head -c 16777216 /dev/zero'], 'capture-output': true },
      { path: 'sh', arg: ['-c', 'head -c 16777217 /dev/zero'], 'capture-output': true },
    ])('%j', async (args) => {
      const [expected, actual] = await both({ execute: 'guest-exec', arguments: args });
      const pid = (reply: Reply) => (reply.return as { pid: number }).pid;
      expect(await lastStatus(ours, pid(actual))).toEqual(await lastStatus(theirs, pid(expected)));
    });

    it.each<object>([
      {},
      { path: 5 },
      { path: 'true', arg: 'x' },
      { path: 'true', arg: [1] },
      { path: 'true', 'capture-output': 1 },
      { path: 'cat', 'input-data': '*' },
      { path: '/no/such/program' },
      { path: 'no-such-program' },
      { path: '/etc/passwd' },
    ])('refused: %j', async (args) => {
      const [expected, actual] = await both({ execute: 'guest-exec', arguments: args });
      expect(actual.error?.class).toBe(expected.error?.class);
    });

    it('an unknown pid', async () => {
      const [expected, actual] = await both({ execute: 'guest-exec-status', arguments: { pid: 999_999 } });
      expect(actual.error?.class).toBe(expected.error?.class);
    });
  });
});
