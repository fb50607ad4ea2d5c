/** Debian's xenstore-* programs (package xenstore-utils) with the embedded store, unchanged. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startEmbeddedStore } from '../../support/embedded-store.ts';
import { type TestStore, until } from '../../support/test-store.ts';

const missing = existsSync('/usr/bin/xenstore-read')
  ? undefined
  : 'xenstore-read is not installed (apt-get install xenstore-utils)';
const run = promisify(execFile);

let store: TestStore;
const children = new Set<ChildProcess>();

beforeAll(async () => {
  store = await startEmbeddedStore();
  await store.domainUp(3);
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await store.stop();
});
beforeEach((context) => {
  if (missing !== undefined) context.skip(missing);
});

const environment = (socket = store.toolstackSocket) => ({ ...process.env, XENSTORED_PATH: socket });

async function tool(name: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(`xenstore-${name}`, args, { env: environment(), timeout: 30_000 });
  return stdout;
}

describe('the real clients', () => {
  it('write, read, list, test and remove', async () => {
    await tool('write', '/test/a', 'one', '/test/b/c', 'two');
    expect(await tool('read', '/test/a', '/test/b/c')).toBe('one\ntwo\n');
    expect(await tool('list', '/test')).toBe('a\nb\n');
    expect(await tool('ls', '/test')).toBe('a = "one"\nb = ""\n c = "two"\n');
    expect(await tool('ls', '-f', '/test')).toBe('/test/a = "one"\n/test/b = ""\n/test/b/c = "two"\n');
    await tool('exists', '/test/a');
    await tool('rm', '/test/a');
    await expect(tool('exists', '/test/a')).rejects.toMatchObject({ code: 1 });
    await expect(tool('read', '/test/a')).rejects.toMatchObject({ code: 1 });
    await tool('rm', '-t', '/test/b/c');
    await expect(tool('read', '/test')).rejects.toMatchObject({ code: 1 });
  });

  it('change permissions and show them', async () => {
    await tool('write', '/local/domain/3/vm-data/x', '1');
    await tool('chmod', '/local/domain/3/vm-data/x', 'n3', 'r0');
    expect(await tool('ls', '-p', '/local/domain/3/vm-data')).toMatch(/^x = "1" [ .]*\(n3,r0\)\n$/);
    await tool('chmod', '-r', '/local/domain/3/vm-data', 'n3');
    expect(await tool('ls', '-p', '/local/domain/3/vm-data')).toMatch(/\(n3\)/);
  });

  it('watch', async () => {
    const child = spawn('xenstore-watch', ['-n', '3', '/watched'], {
      env: environment(),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.add(child);
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += String(chunk);
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await until('the first event', () => output.includes('/watched\n'));
    await tool('write', '/watched/a', '1');
    await tool('rm', '/watched');
    await ended;
    expect(output).toBe('/watched\n/watched/a\n/watched\n');
  });

  it('are a domain on the socket of a domain', async () => {
    const inside = async (name: string, ...args: string[]) =>
      run(`xenstore-${name}`, args, { env: environment(store.guestSocket(3)), timeout: 30_000 });
    expect((await inside('read', 'domid')).stdout).toBe('3\n');
    await inside('write', 'data/x', 'from inside');
    expect(await tool('read', '/local/domain/3/data/x')).toBe('from inside\n');
    await expect(inside('write', 'name', 'x')).rejects.toMatchObject({ code: 1 });
  });

  it('do not hurt each other', async () => {
    const writers = Array.from({ length: 8 }, (_, i) => tool('write', `/many/${i}`, String(i)));
    await Promise.all(writers);
    expect((await tool('list', '/many')).split('\n').filter(Boolean).sort()).toEqual([...'01234567']);
  });
});
