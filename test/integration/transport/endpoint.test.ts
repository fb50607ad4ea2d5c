/** Endpoints on real sockets and ttys (spec qemu-ga.md section 1). */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';
import type { Channel } from '../../../src/protocols/transport/channel.ts';
import {
  type EndpointAddress,
  EndpointError,
  runEndpoint,
} from '../../../src/protocols/transport/endpoint.ts';
import { createFdChannel } from '../../../src/protocols/transport/fd-channel.ts';
import { channelDuplex } from '../../../src/protocols/transport/fd-duplex.ts';
import { recordingLog } from '../../support/quiet-log.ts';

let directory: string;
let stop: AbortController;
let log: ReturnType<typeof recordingLog>;
let states: string[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'endpoint-'));
  stop = new AbortController();
  log = recordingLog();
  states = [];
});
afterEach(() => {
  stop.abort();
  rmSync(directory, { recursive: true });
});

/** Sends everything back until the channel ends. */
function echo(channel: Channel): Promise<void> {
  return new Promise((resolve) => {
    const stream = channelDuplex(channel);
    stream.on('error', () => undefined);
    stream.on('close', resolve);
    stream.pipe(stream);
  });
}

function run(address: EndpointAddress, retries = true): Promise<void> {
  return runEndpoint(address, {
    native,
    log,
    signal: stop.signal,
    serve: echo,
    retries,
    onState: (state) => states.push(state),
  });
}

function talk(path: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    let received = '';
    socket.on('error', reject);
    socket.on('data', (data) => {
      received += data.toString();
      if (received.length >= text.length) socket.destroy();
    });
    socket.on('close', () => resolve(received));
    socket.write(text);
  });
}

describe('a unix listener', () => {
  it('serves one client after the other', async () => {
    const path = join(directory, 'socket');
    const ended = run({ method: 'unix-listen', path });
    expect(await talk(path, 'first')).toBe('first');
    expect(await Promise.all([talk(path, 'second'), talk(path, 'third')])).toEqual(['second', 'third']);
    stop.abort();
    await ended;
    expect(states[0]).toBe('listening');
    expect(states).toContain('open');
    // as qemu-ga: the file stays
    expect(existsSync(path)).toBe(true);
  });

  it('replaces an old socket', async () => {
    const path = join(directory, 'socket');
    const first = run({ method: 'unix-listen', path });
    stop.abort();
    await first;
    stop = new AbortController();
    void run({ method: 'unix-listen', path });
    expect(await talk(path, 'again')).toBe('again');
  });

  it('never unlinks anything but a socket', async () => {
    const path = join(directory, 'precious');
    writeFileSync(path, 'data');
    const link = join(directory, 'link');
    symlinkSync(path, link);
    for (const each of [path, link, directory]) {
      await expect(run({ method: 'unix-listen', path: each })).rejects.toThrow(EndpointError);
    }
    expect(readFileSync(path, 'utf8')).toBe('data');
    await expect(run({ method: 'unix-listen', path: '' })).rejects.toThrow('the path to listen on is empty');
  });

  it('says why it cannot listen', async () => {
    await expect(run({ method: 'unix-listen', path: join(directory, 'no/such/socket') })).rejects.toThrow(
      'No such file or directory',
    );
    await expect(run({ method: 'unix-listen', path: join(directory, 'x'.repeat(200)) })).rejects.toThrow(
      'too long',
    );
  });
});

it('a socket that was handed over is served', async () => {
  const path = join(directory, 'socket');
  const fd = native.listenUnix(path, 1);
  void run({ method: 'activated', fd });
  expect(await talk(path, 'activated')).toBe('activated');
});

const vsock = native.listenVsock(0xffffffff, 7777, 1);
if (vsock >= 0) native.close(vsock);
else console.log(`vsock is not tested: ${native.errorText(-vsock)}`);

describe.skipIf(vsock < 0)('a vsock listener', () => {
  it('listens, also when nobody can connect here', async () => {
    void run({ method: 'vsock-listen', cid: 0xffffffff, port: 7778 });
    await delay(10);
    expect(states).toEqual(['listening']);
  });
});

/** A pseudo terminal whose far side is a unix socket: socat makes it, as QEMU makes a serial line. */
async function startTty(path: string, hostSocket: string): Promise<ChildProcess> {
  const tty = spawn('socat', [`PTY,link=${path},raw,echo=0`, `UNIX-LISTEN:${hostSocket},fork`], {
    stdio: 'ignore',
  });
  for (let tries = 0; !existsSync(path) || !existsSync(hostSocket); tries += 1) {
    if (tries > 200) throw new Error('socat did not start');
    await delay(20);
  }
  return tty;
}

describe('a device', () => {
  it('that is missing is waited for, with one line in the log', async () => {
    void run({ method: 'virtio-serial', path: join(directory, 'port') });
    await delay(50);
    expect(states).toEqual(['waiting']);
    expect(log.lines).toEqual([
      `warning: cannot open ${join(directory, 'port')}: No such file or directory; waiting for it`,
    ]);
  });

  it('that is missing ends an endpoint without retries', async () => {
    await expect(run({ method: 'virtio-serial', path: join(directory, 'port') }, false)).rejects.toThrow(
      'cannot open',
    );
  });

  it('that is no device the kernel can poll ends in an error, not in a loop', async () => {
    const path = join(directory, 'file');
    writeFileSync(path, '');
    await expect(run({ method: 'virtio-serial', path }, false)).rejects.toThrow();
  });

  it('that is a serial line is served in raw mode, all bytes unchanged', async () => {
    const path = join(directory, 'tty');
    const hostSocket = join(directory, 'host');
    const tty = await startTty(path, hostSocket);
    try {
      const ended = run({ method: 'isa-serial', path });
      await delay(100);
      const bytes = Buffer.from([...Array(256).keys()]);
      const received = await talkBytes(hostSocket, bytes);
      expect(received.equals(bytes)).toBe(true);
      stop.abort();
      await ended;
    } finally {
      tty.kill();
    }
  });
});

function talkBytes(path: string, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const chunks: Buffer[] = [];
    const timer = setTimeout(() => socket.destroy(), 3_000);
    socket.on('error', reject);
    socket.on('data', (data) => {
      chunks.push(data);
      if (Buffer.concat(chunks).length >= bytes.length) socket.destroy();
    });
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(Buffer.concat(chunks));
    });
    socket.write(bytes);
  });
}

describe('a channel as a stream', () => {
  it('carries data both ways with back-pressure, and ends', async () => {
    const [left, right] = native.socketPair();
    const [a, b] = [
      channelDuplex(createFdChannel(native, left, 'socket')),
      channelDuplex(createFdChannel(native, right, 'socket')),
    ];
    b.pipe(b);
    const sent = Buffer.alloc(3 * 1024 * 1024, 'abc');
    const received: Buffer[] = [];
    a.on('data', (chunk: Buffer) => received.push(chunk));
    a.write(sent);
    while (Buffer.concat(received).length < sent.length) await delay(5);
    expect(Buffer.concat(received).equals(sent)).toBe(true);
    const ended = new Promise((resolve) => b.on('end', resolve));
    a.destroy();
    await ended;
    b.destroy();
  });
});
