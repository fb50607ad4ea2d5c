/** guest-file-* on real files (spec qemu-ga.md section 5, Files). */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LineClient } from '../../support/line-client.ts';
import { type OurAgent, startOurAgent } from '../../support/qga-service.ts';

let agent: OurAgent;
let client: LineClient;
beforeAll(async () => {
  agent = await startOurAgent();
  client = new LineClient(agent.socketPath);
});
afterAll(async () => {
  await client.close();
  await agent.stop();
});

async function open(path: string, mode?: string): Promise<number> {
  return (await client.result('guest-file-open', mode === undefined ? { path } : { path, mode })) as number;
}
const read = (handle: number, count?: number) =>
  client.result('guest-file-read', count === undefined ? { handle } : { handle, count });
const write = (handle: number, data: string | Buffer, count?: number) =>
  client.result('guest-file-write', {
    handle,
    'buf-b64': Buffer.from(data).toString('base64'),
    ...(count !== undefined && { count }),
  });
const seek = (handle: number, offset: number, whence: unknown) =>
  client.result('guest-file-seek', { handle, offset, whence });
const close = (handle: number) => client.result('guest-file-close', { handle });
const file = (name: string) => join(agent.filesDir, name);
const content = (data: string, eof: boolean) => ({
  count: Buffer.byteLength(data),
  'buf-b64': Buffer.from(data).toString('base64'),
  eof,
});

describe('opening', () => {
  it('gives increasing handles, from 1000 on', async () => {
    writeFileSync(file('a'), 'abc');
    const first = await open('a');
    const second = await open('a');
    expect(first).toBeGreaterThanOrEqual(1000);
    expect(second).toBe(first + 1);
    await close(first);
    await close(second);
    expect(readFileSync(join(agent.directory, 'qga.state'), 'utf8')).toBe(
      `[global]\nfd_counter=${second + 1}\n`,
    );
  });

  it('makes new files with mode 0666 whatever the umask, and keeps that of existing ones', async () => {
    const umask = process.umask(0o077);
    try {
      await close(await open('new', 'w'));
      writeFileSync(file('old'), 'x', { mode: 0o640 });
      await close(await open('old', 'a'));
    } finally {
      process.umask(umask);
    }
    expect(statSync(file('new')).mode & 0o7777).toBe(0o666);
    expect(statSync(file('old')).mode & 0o7777).toBe(0o600);
  });

  it.each([
    ['missing', 'r', "failed to open file 'missing' (mode: 'r'): No such file or directory"],
    ['missing/x', 'w', "failed to open file 'missing/x' (mode: 'w'): No such file or directory"],
    ['x', 'q', "invalid file open mode 'q'"],
    ['x', 'rw', "invalid file open mode 'rw'"],
    ['../x', 'w', "failed to open file '../x' (mode: 'w'): Permission denied"],
    ['a/../../x', 'w', "failed to open file 'a/../../x' (mode: 'w'): Permission denied"],
    ['link/x', 'w', "failed to open file 'link/x' (mode: 'w'): Permission denied"],
    ['', 'r', "failed to open file '' (mode: 'r'): No such file or directory"],
  ])('%s in mode %s: %s', async (path, mode, text) => {
    if (!existsSync(file('link'))) symlinkSync('/tmp', file('link'));
    await expect(open(path, mode)).rejects.toThrow(text);
  });

  it('does a directory for reading, which fails on reading', async () => {
    mkdirSync(file('dir'), { recursive: true });
    const handle = await open('dir');
    await expect(read(handle)).rejects.toThrow('failed to read file: Is a directory');
    await close(handle);
  });
});

describe('reading', () => {
  it('meets the end only when it asks beyond it', async () => {
    writeFileSync(file('text'), 'hello');
    const handle = await open('text');
    expect(await read(handle, 2)).toEqual(content('he', false));
    expect(await read(handle, 0)).toEqual(content('', false));
    expect(await read(handle, 3)).toEqual(content('llo', false));
    expect(await read(handle, 3)).toEqual(content('', true));
    await close(handle);
    const again = await open('text');
    expect(await read(again)).toEqual(content('hello', true));
    await close(again);
  });

  it.each([-1, 50_331_649])('refuses a count of %i', async (count) => {
    const handle = await open('text');
    await expect(read(handle, count)).rejects.toThrow(`value '${count}' is invalid for argument count`);
    await close(handle);
  });

  it.each([196_607, 196_608, 196_609, 393_216, 5_000_000])('streams %i bytes whole', async (size) => {
    const bytes = randomBytes(size);
    writeFileSync(file('large'), bytes);
    const handle = await open('large');
    const reply = (await read(handle, 50_331_648)) as { count: number; 'buf-b64': string; eof: boolean };
    expect(reply).toMatchObject({ count: size, eof: true });
    expect(Buffer.from(reply['buf-b64'], 'base64').equals(bytes)).toBe(true);
    await close(handle);
  });
});

describe('writing', () => {
  it('can be seen at once, and count limits it', async () => {
    const handle = await open('out', 'w');
    expect(await write(handle, 'hello')).toEqual({ count: 5, eof: false });
    expect(readFileSync(file('out'), 'utf8')).toBe('hello');
    expect(await write(handle, ' world', 3)).toEqual({ count: 3, eof: false });
    expect(await write(handle, '', 0)).toEqual({ count: 0, eof: false });
    expect(await client.result('guest-file-flush', { handle })).toEqual({});
    await close(handle);
    expect(readFileSync(file('out'), 'utf8')).toBe('hello wo');
  });

  it('appends in mode a, and truncates in mode w', async () => {
    writeFileSync(file('log'), 'one\n');
    const append = await open('log', 'ab');
    await write(append, 'two\n');
    await close(append);
    expect(readFileSync(file('log'), 'utf8')).toBe('one\ntwo\n');
    await close(await open('log', 'wb'));
    expect(readFileSync(file('log'), 'utf8')).toBe('');
  });

  it('and reading switch without a seek in mode r+', async () => {
    writeFileSync(file('both'), 'abcdef');
    const handle = await open('both', 'r+');
    expect(await read(handle, 2)).toEqual(content('ab', false));
    await write(handle, 'XY');
    expect(await read(handle, 9)).toEqual(content('ef', true));
    await close(handle);
    expect(readFileSync(file('both'), 'utf8')).toBe('abXYef');
  });

  it('takes base64 wrapped with newlines, as Proxmox sends it, also long', async () => {
    const bytes = randomBytes(60 * 1024);
    const wrapped = bytes.toString('base64').replaceAll(/.{76}/g, '$&\n');
    const handle = await open('wrapped', 'wb');
    expect(await client.result('guest-file-write', { handle, 'buf-b64': wrapped })).toEqual({
      count: bytes.length,
      eof: false,
    });
    await close(handle);
    expect(readFileSync(file('wrapped')).equals(bytes)).toBe(true);
  });

  it.each(['QQ-_', 'QQ==\r', 'QQ ==', 'Q\u00c9==', `${'QUJD'.repeat(1000)}*`, 'Q\u0142=='])(
    'refuses the base64 %j and writes nothing',
    async (data) => {
      const handle = await open('none', 'w');
      await expect(client.result('guest-file-write', { handle, 'buf-b64': data })).rejects.toThrow(
        'Base64 data contains invalid characters',
      );
      await close(handle);
      expect(statSync(file('none')).size).toBe(0);
    },
  );

  it.each([-1, 4])('refuses a count of %i for 3 bytes', async (count) => {
    const handle = await open('none', 'w');
    await expect(write(handle, 'abc', count)).rejects.toThrow(
      `value '${count}' is invalid for argument count`,
    );
    await close(handle);
    expect(statSync(file('none')).size).toBe(0);
  });

  it('to a full device and to a read-only handle fails', async () => {
    const full = await open('/dev/full', 'w');
    await expect(write(full, 'x')).rejects.toThrow('failed to write to file: No space left on device');
    await close(full);
    const handle = await open('text', 'r');
    await expect(write(handle, 'x')).rejects.toThrow('failed to write to file: Bad file descriptor');
    await close(handle);
  });

  it('of 48 MiB meets the token limit, and the session goes on', async () => {
    const handle = await open('none', 'w');
    const data = Buffer.alloc(67_108_864, 'A');
    client.send(`{"execute":"guest-file-write","arguments":{"handle":${handle},"buf-b64":"`);
    client.send(data);
    client.send('"}}\n');
    expect(await client.reply(60_000)).toEqual({
      error: { class: 'GenericError', desc: 'JSON token size limit exceeded' },
    });
    client.send('{"execute":"guest-sync","arguments":{"id":77}}');
    await client.readThrough('{"return": 77}');
    await close(handle);
  });
});

describe('seeking', () => {
  it('moves from the start, the current position and the end', async () => {
    writeFileSync(file('text'), 'hello');
    const handle = await open('text');
    expect(await seek(handle, 1, 'set')).toEqual({ position: 1, eof: false });
    expect(await seek(handle, 1, 1)).toEqual({ position: 2, eof: false });
    expect(await seek(handle, -1, 'end')).toEqual({ position: 4, eof: false });
    expect(await read(handle)).toEqual(content('o', true));
    expect(await seek(handle, 100, 2)).toEqual({ position: 105, eof: false });
    await expect(seek(handle, -1, 0)).rejects.toThrow('failed to seek file: Invalid argument');
    await expect(seek(handle, 0, 3)).rejects.toThrow('invalid whence code 3');
    await expect(seek(handle, 0, 'middle')).rejects.toThrow(
      "Parameter 'whence' does not accept value 'middle'",
    );
    await close(handle);
  });
});

describe('handles', () => {
  it.each(['guest-file-close', 'guest-file-read', 'guest-file-flush'])('unknown: %s', async (name) => {
    await expect(client.result(name, { handle: 5 })).rejects.toThrow("handle '5' has not been found");
  });

  it('outlive their connection', async () => {
    const handle = await open('text');
    await client.close();
    client = new LineClient(agent.socketPath);
    expect(await read(handle)).toEqual(content('hello', true));
    await close(handle);
  });
});

it('a large file goes in and out unchanged, in 1 MiB pieces', async () => {
  const pieces = process.env.CHR_AGENT_LONG ? 1024 : 48;
  const piece = randomBytes(1024 * 1024);
  const before = createHash('sha256');
  const handle = await open('gigabyte', 'w+');
  for (let index = 0; index < pieces; index += 1) {
    piece.writeUInt32LE(index);
    before.update(piece);
    await write(handle, piece);
  }
  await seek(handle, 0, 'set');
  const after = createHash('sha256');
  for (;;) {
    const reply = (await read(handle, 1024 * 1024)) as { 'buf-b64': string; eof: boolean };
    after.update(Buffer.from(reply['buf-b64'], 'base64'));
    if (reply.eof) break;
  }
  await close(handle);
  expect(after.digest('hex')).toBe(before.digest('hex'));
}, 120_000);
