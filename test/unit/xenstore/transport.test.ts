import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';
import { createFdChannel } from '../../../src/protocols/transport/fd-channel.ts';
import { channelDuplex } from '../../../src/protocols/transport/fd-duplex.ts';
import { connectOver } from '../../../src/protocols/xenstore/connection.ts';
import { type EmbeddedStore, startStore } from '../../../src/protocols/xenstore/store/server.ts';
import { openTransport, XenstoreTransportError } from '../../../src/protocols/xenstore/transport.ts';
import { recordingLog } from '../../support/quiet-log.ts';

let directory: string;
let store: EmbeddedStore;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'xs-transport-'));
  store = await startStore(directory);
});
afterEach(async () => {
  await store.close();
  rmSync(directory, { recursive: true });
});

describe('the transport', () => {
  it('is a socket, which takes whole payloads', async () => {
    const { stream, path, maxRequestBytes } = openTransport(native, store.toolstackSocket);
    expect([path, maxRequestBytes]).toEqual([store.toolstackSocket, 4112]);
    const connection = connectOver(stream, { log: recordingLog(), maxRequestBytes });
    await connection.write('/a', 'x'.repeat(4093));
    expect(await connection.read('/a')).toHaveLength(4093);
    connection.close();
  });

  it.each([
    ['missing', 'cannot open DIR/missing: No such file or directory'],
    ['.', 'cannot open DIR/.: Is a directory'],
    ['file', 'DIR/file is no xenbus device: '],
  ])('is not %s', (name, text) => {
    writeFileSync(join(directory, 'file'), '');
    const open = () => openTransport(native, `${directory}/${name}`);
    expect(open).toThrow(XenstoreTransportError);
    expect(open).toThrow(text.replace('DIR', directory));
  });

  it('is not a socket that nobody serves', () => {
    const dead = join(directory, 'dead');
    native.close(native.listenUnix(dead, 1));
    expect(() => openTransport(native, dead)).toThrow(`cannot connect to ${dead}: Connection refused`);
  });

  // the device itself is not to be had here; its way of polling is
  it('reads an edge-triggered descriptor until it is empty', async () => {
    const fd = native.connectUnix(store.toolstackSocket);
    const stream = channelDuplex(createFdChannel(native, fd, 'device'));
    const connection = connectOver(stream, { log: recordingLog(), maxRequestBytes: 4096 });
    const events: string[] = [];
    await connection.watch('/k', (path) => events.push(path));
    const keys = Array.from({ length: 300 }, (_, i) => `/k/${i}`);
    const value = 'v'.repeat(4000);
    await Promise.all(keys.map((key) => connection.write(key, value)));
    const values = await Promise.all(keys.map((key) => connection.read(key)));
    expect(values.every((each) => String(each) === value)).toBe(true);
    expect(events).toEqual(['/k', ...keys]);
    connection.close();
  });

  it('does not hold up the end of the process', async () => {
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(join(directory, 'silent'), resolve));
    const code = `
      import { native } from './src/native/index.ts';
      import { connectOver } from './src/protocols/xenstore/connection.ts';
      import { createFdChannel } from './src/protocols/transport/fd-channel.ts';
      import { channelDuplex } from './src/protocols/transport/fd-duplex.ts';
      const channel = createFdChannel(native, native.connectUnix(process.argv[1]), 'device');
      connectOver(channelDuplex(channel), { log: console }).read('a').catch(() => {});
      setTimeout(() => process.exit(7), 50);`;
    const argv = ['--input-type=module-typescript', '-e', code, join(directory, 'silent')];
    const child = spawn(process.execPath, argv, {
      cwd: join(import.meta.dirname, '../../..'),
      stdio: 'inherit',
    });
    expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(7);
    silent.close();
  });
});
