/** Low ports first, as the host wants of a privileged caller (spec vmware.md section 13); waiting for a connect. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';
import {
  connectPrivileged,
  finishConnect,
  vsocketConnector,
} from '../../../src/protocols/vmtools/vsocket-connection.ts';

const { EACCES, EADDRINUSE, EBADF, ECONNREFUSED, ECONNRESET, ENOBUFS, ENODEV, ETIMEDOUT } = constants.errno;
const FD = 5;

describe('the local port', () => {
  const down = (from: number, count: number) => Array.from({ length: count }, (_, index) => from - index);
  it.each<[string, number[], number, (number | null)[]]>([
    ['free', [FD], FD, [1023]],
    ['in use twice', [-EADDRINUSE, -EADDRINUSE, FD], FD, [1023, 1022, 1021]],
    ['reset 8 times', [...Array(8).fill(-ECONNRESET), FD], FD, down(1023, 9)],
    ['reset for ever', Array(20).fill(-ECONNRESET), -ECONNRESET, down(1023, 9)],
    ['no buffers 5 times', [...Array(5).fill(-ENOBUFS), FD], FD, Array(6).fill(1023)],
    ['no buffers for ever', Array(20).fill(-ENOBUFS), -ENOBUFS, Array(6).fill(1023)],
    ['forbidden', [-EACCES, FD], FD, [1023, null]],
    ['forbidden after one in use', [-EADDRINUSE, -EACCES, -ENODEV], -ENODEV, [1023, 1022, null]],
    ['no vsockets', [-ENODEV], -ENODEV, [1023]],
    ['all in use', Array(1023).fill(-EADDRINUSE), -EADDRINUSE, down(1023, 1023)],
  ])('%s', async (_what, results, expected, ports) => {
    const tried: (number | null)[] = [];
    const left = [...results];
    const result = await connectPrivileged(async (port) => {
      tried.push(port);
      return left.shift() ?? 0;
    });
    expect(result).toBe(expected);
    expect(tried).toEqual(ports);
  });
});

describe('a connect that has begun', () => {
  it('is waited for', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vsocket-'));
    const path = join(folder, 'socket');
    const server = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const fd = native.connectUnix(path);
    expect(await finishConnect(native, fd)).toBe(fd);
    native.close(fd);
    server.close();
    rmSync(folder, { recursive: true });
  });

  it('that fails leaves no descriptor', async () => {
    const [one, other] = native.socketPair();
    const refused = { Poller: native.Poller, socketError: () => -ECONNREFUSED, close: native.close };
    expect(await finishConnect(refused, one)).toBe(-ECONNREFUSED);
    expect(native.close(one)).toBe(-EBADF);
    native.close(other);
    expect(await finishConnect(native, -ENODEV)).toBe(-ENODEV);
  });

  it('has a time limit', async () => {
    // a full pipe never becomes writable
    const [reader, writer] = native.pipe();
    const block = Buffer.alloc(65536);
    while (native.write(writer, block, 0, block.length) > 0);
    expect(await finishConnect(native, writer, 20)).toBe(-ETIMEDOUT);
    expect(native.close(writer)).toBe(-EBADF);
    native.close(reader);
  });

  it('is none on a machine without a VMware host', async () => {
    expect(await vsocketConnector(native)('tclo')).toBeNull();
  });
});
