import { lstatSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { unpack } from 'msgpackr';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ControlServer, startControlServer } from '../../../src/agent/control.ts';
import { callControl } from '../../../src/agent/control-client.ts';
import { ControlFramer, controlCodec, MAX_MESSAGE_BYTES } from '../../../src/agent/control-messages.ts';
import { formatStatus, type Status } from '../../../src/agent/status.ts';
import type { QuiesceStatus } from '../../../src/quiesce/quiescer.ts';

const STATUS: Status = {
  version: '1.2.3',
  pid: 4711,
  startedAt: '2026-01-02T03:04:05.000Z',
  hypervisor: 'kvm',
  protocols: [
    { name: 'qemu-ga', state: 'connected', detail: '/dev/virtio-ports/org.qemu.guest_agent.0' },
    { name: 'vmtools', state: 'off', detail: 'not on VMware' },
  ],
  jobs: { running: 1, finished: 22 },
  frozen: false,
  license: { level: 'p1', state: 'trial' },
  memory: { residentBytes: 45 * 1_048_576, heapBytes: 6_500_000 },
};

const THAWED: QuiesceStatus = {
  state: 'thawed',
  owner: null,
  sinceMs: null,
  mountPoints: [],
  timeLimitMs: 0,
  notice: null,
};

const log = { error() {}, warning() {}, info() {}, debug() {} };

let dir: string;
let path: string;
let server: ControlServer | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'control-test-'));
  path = join(dir, 'run', 'control.sock');
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(dir, { recursive: true });
});

async function start(status: () => Status | Promise<Status> = () => STATUS, silenceLimitMs = 5_000) {
  const handlers = { status, 'freeze-status': () => THAWED, jobs: () => [] };
  server = await startControlServer({ path, handlers, log, silenceLimitMs, maxClients: 4 });
}

/** What the server sends until it ends or drops the connection. */
async function received(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  try {
    for await (const piece of socket) pieces.push(piece as Buffer);
  } catch {
    // dropped
  }
  return Buffer.concat(pieces);
}

describe('the control socket', () => {
  it('answers status', async () => {
    await start();
    expect(await callControl(path, 'status')).toEqual(STATUS);
  });

  it('is for its owner only, and gone after the end', async () => {
    const umask = process.umask(0);
    try {
      await start();
    } finally {
      process.umask(umask);
    }
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    await server?.close();
    server = undefined;
    expect(lstatSync(path, { throwIfNoEntry: false })).toBeUndefined();
  });

  it('leaves the umask as it was', async () => {
    const before = process.umask();
    await start();
    expect(process.umask()).toBe(before);
  });

  it('refuses a place where another daemon listens', async () => {
    await start();
    const handlers = { status: () => STATUS, 'freeze-status': () => THAWED, jobs: () => [] };
    await expect(startControlServer({ path, handlers, log })).rejects.toThrow(
      `control socket ${path}: another daemon listens there`,
    );
    expect(await callControl(path, 'status')).toEqual(STATUS);
  });

  it('replaces a socket that nobody answers at', async () => {
    path = join(dir, 'control.sock');
    // a daemon that was killed leaves its socket: bound, but nobody listens
    const { status } = await runNode(`
      require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`);
    expect(status).toBe('SIGKILL');
    expect(lstatSync(path).isSocket()).toBe(true);
    await start();
    expect(await callControl(path, 'status')).toEqual(STATUS);
  });

  it('does not touch what is no socket', async () => {
    path = join(dir, 'file');
    writeFileSync(path, 'precious');
    await expect(start()).rejects.toThrow('something that is no socket is there');
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  it('says why it cannot listen', async () => {
    path = join('/proc', 'no-such-directory', 'control.sock');
    await expect(start()).rejects.toThrow(/^control socket \/proc\/no-such-directory\/control.sock: ENOENT/);
  });

  it('tells the client of a handler that failed', async () => {
    await start(() => {
      throw new Error('broken');
    });
    await expect(callControl(path, 'status')).rejects.toMatchObject({ failure: 'failed', message: 'broken' });
  });

  it('answers several requests of one connection in their order, in any pieces', async () => {
    let calls = 0;
    await start(async () => ({ ...STATUS, pid: ++calls }));
    const codec = await controlCodec();
    const request = codec.encode({ command: 'status' });
    const socket = connect(path);
    for (const byte of Buffer.concat([request, request, codec.encode({ command: 'nope' }), request])) {
      socket.write(Buffer.of(byte));
    }
    socket.end();
    const replies = new ControlFramer().push(await received(socket)).map((body) => unpack(body));
    expect(replies).toMatchObject([
      { ok: true, value: { pid: 1 } },
      { ok: true, value: { pid: 2 } },
      { ok: false, error: 'unknown command nope' },
      { ok: true, value: { pid: 3 } },
    ]);
  });
});

describe('a bad client', () => {
  it.each([
    ['a length of 0', Buffer.alloc(4), /^message length 0 is not within/],
    ['a length above the limit', Buffer.from('00100001', 'hex'), /^message length 1048577 is not within/],
    ['no MessagePack', Buffer.from('00000002c4ff', 'hex'), /^not MessagePack$/],
    ['bytes after the message', Buffer.from('000000020101', 'hex'), /^not MessagePack$/],
    ['no object', Buffer.from('0000000101', 'hex'), /^a request is/],
    ['no command', Buffer.from('0000000180', 'hex'), /^a request is/],
    [
      'a member of the prototype',
      Buffer.from('0000001581a7636f6d6d616e64ab636f6e7374727563746f72', 'hex'),
      /^unknown command constructor$/,
    ],
  ])('that sends %s gets an error', async (_, bytes, error) => {
    await start();
    const socket = connect(path);
    socket.end(bytes);
    const [reply] = new ControlFramer().push(await received(socket));
    expect(unpack(reply ?? Buffer.alloc(0))).toEqual({ ok: false, error: expect.stringMatching(error) });
    expect(await callControl(path, 'status')).toEqual(STATUS);
  });

  it('that is silent loses its connection', async () => {
    await start(undefined, 50);
    const silent = connect(path);
    const halfway = connect(path, () => halfway.write('\0'));
    expect(await Promise.all([received(silent), received(halfway)])).toEqual([
      Buffer.alloc(0),
      Buffer.alloc(0),
    ]);
  });

  it('that does not read its replies loses its connection', async () => {
    await start(undefined, 100);
    const request = (await controlCodec()).encode({ command: 'status' });
    const socket = connect(path);
    socket.on('error', () => {});
    socket.pause();
    socket.write(Buffer.concat(Array.from({ length: 20_000 }, () => request)));
    await new Promise((resolve) => socket.on('close', resolve));
    expect(await callControl(path, 'status')).toEqual(STATUS);
  });

  it('that breaks off in the middle hurts nobody', async () => {
    await start(() => new Promise((resolve) => setTimeout(() => resolve(STATUS), 20)));
    const request = (await controlCodec()).encode({ command: 'status' });
    for (let length = 1; length <= request.length; length++) {
      const socket = connect(path, () => {
        socket.write(request.subarray(0, length), () => socket.destroy());
      });
      await new Promise((resolve) => socket.on('close', resolve));
    }
    expect(await callControl(path, 'status')).toEqual(STATUS);
  });

  it('that brings many friends keeps others out only while they stay', async () => {
    await start();
    const crowd = Array.from({ length: 8 }, () => connect(path).on('error', () => {}));
    await Promise.all(crowd.map((socket) => new Promise((resolve) => socket.on('connect', resolve))));
    for (const socket of crowd) socket.destroy();
    await expect.poll(() => callControl(path, 'status').catch(() => null)).toEqual(STATUS);
  });
});

describe('the client', () => {
  it.each(['missing', 'dead'])('knows that no daemon runs: %s socket', async (kind) => {
    path = join(dir, 'control.sock');
    if (kind === 'dead') {
      await runNode(`
        require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`);
    }
    await expect(callControl(path, 'status')).rejects.toMatchObject({
      failure: 'not-running',
      message: `not running (nobody listens at ${path})`,
    });
  });

  it.each([
    ['says nothing', '', 'no answer from the daemon within 0.1 s'],
    ['hangs up', null, 'the daemon closed the connection without an answer'],
    ['sends nonsense', '\0\0\0\0', 'message length 0 is not within 1 to 1048576'],
    ['sends no reply', '\0\0\0\x01\x07', 'the daemon sent something that is no reply'],
  ])('gives up when the other side %s', async (_, answer, message) => {
    const peer = createServer((socket) => {
      socket.on('error', () => {});
      socket.resume();
      if (answer === null) socket.destroy();
      else socket.write(answer);
    });
    path = join(dir, 'peer.sock');
    await new Promise<void>((resolve) => peer.listen(path, resolve));
    await expect(callControl(path, 'status', undefined, 100)).rejects.toThrow(message);
    await new Promise((resolve) => peer.close(resolve));
  });
});

describe('arguments', () => {
  const RENEWAL = { account: 'ann', password: Buffer.from('secret'), level: 'p1' };

  it('reach their command', async () => {
    const seen: unknown[] = [];
    const keep = (given: { account: string; password: Uint8Array; level: string }) => {
      seen.push({ ...given, password: Buffer.from(given.password).toString() });
      return null;
    };
    server = await startControlServer({ path, handlers: { 'license-renew': keep }, log });
    expect(await callControl(path, 'license-renew', { ...RENEWAL })).toBeNull();
    expect(seen).toEqual([{ account: 'ann', password: 'secret', level: 'p1' }]);
  });

  it.each([undefined, null, 'x', {}, { ...RENEWAL, password: 'text' }, { ...RENEWAL, account: 1 }])(
    'of another form (%j) are refused',
    async (wrong) => {
      server = await startControlServer({ path, handlers: { 'license-renew': () => null }, log });
      const codec = await controlCodec();
      const socket = connect(path);
      socket.end(codec.encode({ command: 'license-renew', arguments: wrong }));
      const [reply] = new ControlFramer().push(await received(socket));
      expect(codec.decode(reply ?? Buffer.alloc(0))).toEqual({ ok: false, error: 'its arguments are wrong' });
    },
  );

  it('a command without a handler is unknown', async () => {
    await start();
    await expect(callControl(path, 'license')).rejects.toThrow('unknown command license');
  });

  it('an answer may take longer than a client may be silent', async () => {
    await start(() => new Promise((resolve) => setTimeout(() => resolve(STATUS), 300)), 100);
    expect(await callControl(path, 'status')).toEqual(STATUS);
  });
});

describe('the messages', () => {
  it('come out as they went in, in any pieces', async () => {
    const codec = await controlCodec();
    // the codec renames that key, which no message has
    const message = fc.jsonValue().filter((value) => !JSON.stringify(value).includes('"__proto__"'));
    fc.assert(
      fc.property(fc.array(message, { maxLength: 4 }), fc.integer({ min: 1, max: 9 }), (messages, step) => {
        const stream = Buffer.concat(messages.map((value) => codec.encode(value)));
        const framer = new ControlFramer();
        const out: unknown[] = [];
        for (let at = 0; at < stream.length; at += step) {
          for (const body of framer.push(stream.subarray(at, at + step))) out.push(codec.decode(body));
        }
        expect(JSON.stringify(out)).toBe(JSON.stringify(messages));
      }),
    );
  });

  it('have a limit', async () => {
    const codec = await controlCodec();
    expect(() => codec.encode(Buffer.alloc(MAX_MESSAGE_BYTES))).toThrow('message too long');
    const biggest = codec.encode(Buffer.alloc(MAX_MESSAGE_BYTES - 5));
    expect(new ControlFramer().push(biggest)).toHaveLength(1);
  });
});

describe('the status as text', () => {
  it('is a table', () => {
    expect(formatStatus(STATUS)).toBe(
      `version       1.2.3
process       4711
started       2026-01-02T03:04:05.000Z
hypervisor    kvm
file systems  thawed
license       p1 (trial)
scripts       1 running, 22 finished
memory        45.0 MiB resident, 6.2 MiB heap

PROTOCOL  STATE      DETAIL
qemu-ga   connected  /dev/virtio-ports/org.qemu.guest_agent.0
vmtools   off        not on VMware
`,
    );
  });
});

/** Runs a piece of JavaScript in a process of its own; its exit status, or the signal that ended it. */
async function runNode(script: string): Promise<{ status: number | string | null }> {
  const { spawn } = await import('node:child_process');
  const child = spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
  return new Promise((resolve) => child.on('close', (code, signal) => resolve({ status: signal ?? code })));
}
