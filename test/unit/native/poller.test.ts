/** Poller on every kind of descriptor the agent has. */
import { execFile, execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native, POLL_HANGUP, POLL_READABLE, POLL_WRITABLE, type Poller } from '../../../src/native/index.ts';
import { exitOf, quietMs, until } from './settle.ts';

const addonModule = JSON.stringify(new URL('../../../src/native/index.ts', import.meta.url).href);
const block = Buffer.alloc(4096);
const say = (fd: number, text: string) => native.write(fd, Buffer.from(text), 0, text.length);
const drain = (fd: number) => {
  while (native.read(fd, block, 0, block.length) > 0);
};

let pollers: Poller[];
let descriptors: Set<number>;
beforeEach(() => {
  pollers = [];
  descriptors = new Set();
});
afterEach(() => {
  for (const poller of pollers) poller.close();
  for (const fd of descriptors) native.close(fd);
});

function poll(fd: number, mode: 'level' | 'edge', onEvents: (events: number) => void): Poller {
  const poller = new native.Poller(fd, mode, onEvents);
  pollers.push(poller);
  return poller;
}
function own<T extends number[]>(fds: T): T {
  for (const fd of fds) descriptors.add(fd);
  return fds;
}
function shut(fd: number): void {
  descriptors.delete(fd);
  native.close(fd);
}

describe('level mode', () => {
  it('reports again and again until the data is read', async () => {
    const [reader, writer] = own(native.pipe());
    const seen: number[] = [];
    const poller = poll(reader, 'level', (events) => {
      seen.push(events);
      if (seen.length === 3) drain(reader);
    });
    poller.interest(POLL_READABLE);
    await sleep(quietMs);
    expect(seen).toEqual([]);
    say(writer, 'x');
    await until(() => seen.length === 3);
    await sleep(quietMs);
    expect(seen).toEqual([POLL_READABLE, POLL_READABLE, POLL_READABLE]);
  });

  it('is silent with interest 0 and goes on after it', async () => {
    const [a] = own(native.socketPair());
    let count = 0;
    const poller = poll(a, 'level', (events) => {
      expect(events).toBe(POLL_WRITABLE);
      count++;
      poller.interest(0);
    });
    await sleep(quietMs);
    expect(count).toBe(0);
    for (const round of [1, 2]) {
      poller.interest(POLL_WRITABLE);
      poller.interest(POLL_WRITABLE);
      await until(() => count === round);
      await sleep(quietMs);
      expect(count).toBe(round);
    }
  });

  it('reports both directions of a socket', async () => {
    const [a, b] = own(native.socketPair());
    let seen = 0;
    const poller = poll(a, 'level', (events) => {
      seen |= events;
      poller.interest(0);
    });
    say(b, 'x');
    poller.interest(POLL_READABLE | POLL_WRITABLE);
    await until(() => seen !== 0);
    expect(seen).toBe(POLL_READABLE | POLL_WRITABLE);
  });

  it('reports an end of file as readable', async () => {
    const [reader, writer] = own(native.pipe());
    let seen = 0;
    const poller = poll(reader, 'level', (events) => {
      seen = events;
      poller.close();
    });
    poller.interest(POLL_READABLE);
    shut(writer);
    await until(() => seen !== 0);
    expect(seen).toBe(POLL_READABLE);
    expect(native.read(reader, block, 0, 1)).toBe(0);
  });

  it('reports an error with the interest and goes on doing so', async () => {
    const [reader, writer] = own(native.pipe());
    const seen: number[] = [];
    const poller = poll(writer, 'level', (events) => {
      seen.push(events);
      if (seen.length === 2) poller.close();
    });
    shut(reader);
    poller.interest(POLL_WRITABLE);
    await until(() => seen.length === 2);
    expect(seen).toEqual([POLL_WRITABLE | POLL_HANGUP, POLL_WRITABLE | POLL_HANGUP]);
  });

  it('waits for a process', async () => {
    const child = native.spawn({
      candidates: ['/bin/sh'],
      argv: ['sh', '-c', 'exit 7'],
      env: [],
      cwd: null,
      fds: [],
      newSession: false,
    });
    expect(await exitOf(child.pidfd)).toEqual({ code: 7, signal: 0 });
  });

  it('refuses what the kernel cannot poll', () => {
    const fd = openSync(import.meta.filename, 'r');
    for (const mode of ['level', 'edge'] as const) {
      expect(() => new native.Poller(fd, mode, () => {})).toThrow(
        expect.objectContaining({ errno: -1, code: 'EPERM' }),
      );
    }
    closeSync(fd);
    for (const mode of ['level', 'edge'] as const) {
      expect(() => new native.Poller(-1, mode, () => {})).toThrow(
        expect.objectContaining({ errno: -9, code: 'EBADF' }),
      );
    }
  });

  it('lets the descriptor be polled again after close', async () => {
    const [reader, writer] = own(native.pipe());
    poll(reader, 'level', () => {}).close();
    let count = 0;
    const poller = poll(reader, 'level', () => {
      count++;
      poller.close();
      poller.close();
      poller.interest(POLL_READABLE);
    });
    poller.interest(POLL_READABLE);
    say(writer, 'x');
    await until(() => count > 0);
    await sleep(quietMs);
    expect(count).toBe(1);
  });
});

describe('edge mode', () => {
  it('wakes once per burst, never while idle and never for a lasting hang-up', async () => {
    const [a, b] = own(native.socketPair());
    const seen: number[] = [];
    poll(a, 'edge', (events) => seen.push(events));
    await until(() => seen.length > 0);
    await sleep(quietMs);
    expect(seen).toEqual([POLL_WRITABLE]);
    for (const burst of [2, 3]) {
      say(b, 'several');
      say(b, 'writes');
      await until(() => seen.length >= burst);
      await sleep(quietMs);
      // nothing is read: the data stays there
      expect(seen.length).toBe(burst);
      expect(seen.at(-1)).toBe(POLL_READABLE | POLL_WRITABLE);
    }
    shut(b);
    await until(() => seen.length > 3);
    await sleep(quietMs);
    expect(seen.length).toBe(4);
    expect((seen.at(-1) ?? 0) & POLL_HANGUP).toBe(POLL_HANGUP);
  });

  it('reports a FIFO that was opened as a device', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'poller-'));
    execFileSync('mkfifo', [join(folder, 'fifo')]);
    const [fd] = own([native.openDevice(join(folder, 'fifo'))]);
    rmSync(folder, { recursive: true });
    expect(fd).toBeGreaterThan(0);
    let seen = 0;
    poll(fd, 'edge', (events) => {
      seen |= events;
    });
    say(fd, 'x');
    await until(() => (seen & POLL_READABLE) !== 0);
  });

  it('keeps an edge that comes while it is stopped', async () => {
    const [a, b] = own(native.socketPair());
    const seen: number[] = [];
    const poller = poll(a, 'edge', (events) => seen.push(events));
    await until(() => seen.length > 0);
    poller.interest(0);
    say(b, 'x');
    await sleep(quietMs);
    expect(seen).toEqual([POLL_WRITABLE]);
    poller.interest(POLL_READABLE);
    await until(() => seen.length > 1);
    expect(seen.at(-1)).toBe(POLL_READABLE | POLL_WRITABLE);
  });
});

/** Runs a module of its own in a fresh process, with `native` at hand. */
async function run(source: string): Promise<string> {
  const program = `import { native } from ${addonModule};\n${source}`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]);
  return stdout;
}

describe('the event loop', () => {
  it('gets what the callback throws, and runs ticks and promises after it', async () => {
    const output = await run(`
      const [reader, writer] = native.pipe();
      process.on('uncaughtException', (error) => console.log('caught', error.message));
      let count = 0;
      const poller = new native.Poller(reader, 'level', () => {
        process.nextTick(() => console.log('tick', count));
        Promise.resolve().then(() => console.log('promise', count));
        if (++count === 1) throw new Error('first');
        console.log('second');
        poller.close();
      });
      poller.interest(1);
      native.close(writer);`);
    expect(output).toBe('caught first\ntick 1\npromise 1\nsecond\ntick 2\npromise 2\n');
  });

  it('ends although an unreferenced poller is active, and not with a referenced one', async () => {
    const output = await run(`
      const [a, b] = native.socketPair();
      const poller = new native.Poller(a, 'edge', () => {});
      poller.unref(); poller.ref(); poller.unref();
      const other = new native.Poller(b, 'level', () => { console.log('came'); other.close(); });
      other.interest(1);
      setTimeout(() => native.write(a, Buffer.from('x'), 0, 1), 20).unref();
      process.on('exit', () => console.log('end'));`);
    expect(output).toBe('came\nend\n');
  });

  it('survives pollers that nobody holds, until they are closed', async () => {
    const output = await run(`
      import { setFlagsFromString } from 'node:v8';
      import { runInNewContext } from 'node:vm';
      setFlagsFromString('--expose-gc');
      const gc = runInNewContext('gc');
      const [reader, writer] = native.pipe();
      (() => { new native.Poller(reader, 'level', () => { console.log('alive'); process.exit(0); }).interest(1); })();
      for (let i = 0; i < 100; i++) { const [a, b] = native.pipe(); new native.Poller(a, 'edge', () => {}).close(); native.close(a); native.close(b); }
      gc();
      setTimeout(() => { gc(); native.write(writer, Buffer.from('x'), 0, 1); }, 20);`);
    expect(output).toBe('alive\n');
  });

  it('can be torn down with pollers in any state', async () => {
    const program = `
      const { parentPort } = require('node:worker_threads');
      import(${addonModule}).then(({ native }) => {
        for (let i = 0; i < 20; i++) {
          const [a, b] = native.socketPair();
          const poller = new native.Poller(a, i % 2 ? 'level' : 'edge', () => { if (i > 15) poller.interest(0); });
          poller.interest(3);
          if (i % 5 === 0) poller.close();
        }
        parentPort.postMessage('up');
        if (process.argv[2] === 'exit') process.exit(0);
      });`;
    for (const ending of ['exit', 'terminate', 'exit', 'terminate']) {
      const worker = new Worker(program, { eval: true, argv: [ending] });
      await new Promise((resolve) => worker.once('message', resolve));
      await worker.terminate();
    }
  });
});
