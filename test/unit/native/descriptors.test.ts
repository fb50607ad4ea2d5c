/** Reading, writing, sockets and ttys. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { native, POLL_WRITABLE } from '../../../src/native/index.ts';
import { until } from './settle.ts';

const { errno } = constants;
const folder = mkdtempSync(join(tmpdir(), 'descriptors-'));
afterAll(() => rmSync(folder, { recursive: true }));

const block = Buffer.alloc(65536);
const say = (fd: number, text: string) => native.write(fd, Buffer.from(text, 'latin1'), 0, text.length);
const hear = (fd: number) => {
  const size = native.read(fd, block, 0, block.length);
  return size < 0 ? size : block.toString('latin1', 0, size);
};

function expectFlags(fd: number): void {
  const flags = Number.parseInt(
    /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '',
    8,
  );
  expect(flags & 0o2000000, 'close-on-exec').not.toBe(0);
  expect(flags & 0o4000, 'non-blocking').not.toBe(0);
}

describe('read and write', () => {
  it('work on the piece of the buffer that is named', () => {
    const [reader, writer] = native.pipe();
    expect(native.write(writer, Buffer.from('0123456789'), 3, 7)).toBe(4);
    const target = Buffer.from('..........');
    expect(native.read(reader, target, 2, 5)).toBe(3);
    expect(target.toString()).toBe('..345.....');
    expect(native.read(reader, target, 8, 10)).toBe(1);
    expect(native.read(reader, target, 8, 10)).toBe(-errno.EAGAIN);
    expect(native.close(writer)).toBe(0);
    expect(native.read(reader, target, 0, 10)).toBe(0);
    expect(native.close(reader)).toBe(0);
    expect(native.close(reader)).toBe(-errno.EBADF);
    expect(native.read(reader, target, 0, 10)).toBe(-errno.EBADF);
  });

  it('tell EAGAIN of a full pipe, and EPIPE', () => {
    const [reader, writer] = native.pipe();
    while (native.write(writer, block, 0, block.length) > 0);
    expect(say(writer, 'x')).toBe(-errno.EAGAIN);
    native.close(reader);
    expect(say(writer, 'x')).toBe(-errno.EPIPE);
    native.close(writer);
  });
});

describe('new descriptors', () => {
  it('are close-on-exec and non-blocking', () => {
    const listener = native.listenUnix(join(folder, 'flags'), 1);
    const client = native.connectUnix(join(folder, 'flags'));
    const server = native.accept(listener);
    const all = [
      ...native.pipe(),
      ...native.socketPair(),
      listener,
      client,
      server,
      native.openDevice('/dev/null'),
    ];
    for (const fd of all) {
      expect(fd).toBeGreaterThan(2);
      expectFlags(fd);
      native.close(fd);
    }
  });

  it('can be made so', () => {
    const [reader, writer] = native.pipe();
    expect(native.setNonBlockingCloseOnExec(reader)).toBe(0);
    expectFlags(reader);
    native.close(reader);
    native.close(writer);
    expect(native.setNonBlockingCloseOnExec(reader)).toBe(-errno.EBADF);
  });

  it('give -errno', () => {
    expect(native.openDevice(join(folder, 'missing'))).toBe(-errno.ENOENT);
    expect(native.openDevice(`/${'x'.repeat(5000)}`)).toBe(-errno.ENAMETOOLONG);
    expect(native.openDevice(folder)).toBe(-errno.EISDIR);
  });
});

describe('unix sockets', () => {
  it('connect and talk', () => {
    const path = join(folder, 'talk');
    const listener = native.listenUnix(path, 1);
    expect(native.listeningFamily(listener)).toBe('unix');
    expect(native.accept(listener)).toBe(-errno.EAGAIN);
    const client = native.connectUnix(path);
    const server = native.accept(listener);
    expect(native.listeningFamily(server)).toBeNull();
    expect(native.socketError(client)).toBe(0);
    expect(say(client, 'ping')).toBe(4);
    expect(hear(server)).toBe('ping');
    native.close(client);
    expect(hear(server)).toBe('');
    for (const fd of [server, listener]) native.close(fd);
    // nothing is unlinked, before or after
    expect(existsSync(path)).toBe(true);
    expect(native.listenUnix(path, 1)).toBe(-errno.EADDRINUSE);
    expect(native.connectUnix(path)).toBe(-errno.ECONNREFUSED);
  });

  it('refuse paths that are too long or empty', () => {
    expect(native.listenUnix(`/${'x'.repeat(107)}`, 1)).toBe(-errno.ENAMETOOLONG);
    expect(native.connectUnix(`/${'x'.repeat(107)}`)).toBe(-errno.ENAMETOOLONG);
    expect(native.listenUnix('', 1)).toBeLessThan(0);
    expect(native.connectUnix(join(folder, 'nobody'))).toBe(-errno.ENOENT);
  });
});

describe('listeningFamily', () => {
  it('tells other listeners and no listeners', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const handle: unknown = Reflect.get(server, '_handle');
    const fd: unknown = typeof handle === 'object' && handle ? Reflect.get(handle, 'fd') : undefined;
    expect(native.listeningFamily(Number(fd))).toBe('other');
    server.close();
    expect(native.listeningFamily(0)).toBeNull();
    expect(native.listeningFamily(-1)).toBeNull();
    expect(native.socketError(-1)).toBe(-errno.EBADF);
  });
});

describe('vsock', () => {
  const anyCid = 0xffffffff;
  const localCid = 1;
  const port = 0x70000000 + (process.pid & 0xffff);

  it('listens', (context) => {
    const listener = native.listenVsock(anyCid, port, 1);
    if (listener < 0) return context.skip(`no vsock here: ${native.errorText(listener)}`);
    expectFlags(listener);
    expect(native.listeningFamily(listener)).toBe('vsock');
    expect(native.accept(listener)).toBe(-errno.EAGAIN);
    expect(native.listenVsock(anyCid, port, 1)).toBe(-errno.EADDRINUSE);
    native.close(listener);
  });

  it('connects over the loopback', async (context) => {
    const listener = native.listenVsock(anyCid, port + 1, 1);
    const client = native.connectVsock(localCid, port + 1);
    if (listener < 0 || client < 0) {
      for (const fd of [listener, client]) if (fd >= 0) native.close(fd);
      return context.skip(`no vsock loopback here: ${native.errorText(listener < 0 ? listener : client)}`);
    }
    let writable = false;
    const poller = new native.Poller(client, 'level', () => {
      writable = true;
      poller.close();
    });
    poller.interest(POLL_WRITABLE);
    // without a loopback it times out after two seconds: too long to wait for
    await until(() => writable, 300).catch(() => poller.close());
    const error = writable ? native.socketError(client) : -errno.ETIMEDOUT;
    if (error === 0) {
      const server = native.accept(listener);
      expect(say(client, 'ping')).toBe(4);
      await until(() => hear(server) === 'ping');
      native.close(server);
    }
    for (const fd of [client, listener]) native.close(fd);
    if (error !== 0) context.skip(`no vsock loopback here: ${native.errorText(error)}`);
  });
});

describe('ttys', () => {
  it('are made raw and pass every byte', async (context) => {
    const link = join(folder, 'tty');
    const socat = spawn('socat', [`PTY,link=${link}`, 'STDIO'], { stdio: ['pipe', 'pipe', 'inherit'] });
    const started = await new Promise((resolve) => {
      socat.once('spawn', () => resolve(true));
      socat.once('error', () => resolve(false));
    });
    if (!started) return context.skip('socat is not installed');
    try {
      await until(() => existsSync(link));
      const tty = native.openDevice(link);
      expectFlags(tty);
      expect(readlinkSync(`/proc/self/fd/${tty}`)).toMatch(/^\/dev\/pts\//);
      expect(native.makeRaw(tty)).toBe(0);
      const settings = execFileSync('stty', ['-a', '-F', link], { encoding: 'latin1' });
      expect(settings).toMatch(/speed 38400 baud/);
      expect(settings).toMatch(/min = 1; time = 0;/);
      for (const flag of 'icanon isig echo iexten opost icrnl inlcr igncr ixon ixoff istrip brkint parmrk'.split(
        ' ',
      )) {
        expect(settings).toMatch(new RegExp(`(^|\\s)-${flag}[\\s;]`, 'm'));
      }
      const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      const output: Buffer[] = [];
      socat.stdout.on('data', (data: Buffer) => output.push(data));
      expect(native.write(tty, every, 0, 256)).toBe(256);
      await until(() => Buffer.concat(output).length >= 256);
      expect(Buffer.concat(output)).toEqual(every);
      socat.stdin.write(every);
      const input: string[] = [];
      await until(() => {
        const text = hear(tty);
        if (typeof text === 'string') input.push(text);
        return input.join('').length >= 256;
      });
      expect(input.join('')).toBe(every.toString('latin1'));
      native.close(tty);
    } finally {
      const ended = new Promise((resolve) => socat.once('exit', resolve));
      socat.kill();
      await ended;
    }
  });

  it('are told from other things', () => {
    const path = join(folder, 'plain');
    writeFileSync(path, '');
    const fd = native.openDevice(path);
    expect(native.makeRaw(fd)).toBe(-errno.ENOTTY);
    native.close(fd);
  });
});
