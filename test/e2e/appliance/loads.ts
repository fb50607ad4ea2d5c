/** What the small guest has to carry: large files, large output, many jobs. Each load checks every byte. */
import { randomBytes } from 'node:crypto';
import * as v from 'valibot';
import type { Agent } from './agent.ts';

export const MIB = 1024 * 1024;
/** In the files directory. */
const FILE = 'payload';
const FILES_DIR = '/var/lib/chr-agent/files';

const readSchema = v.object({ count: v.number(), 'buf-b64': v.string(), eof: v.boolean() });
const writtenSchema = v.object({ count: v.number() });

async function openFile(agent: Agent, mode: string): Promise<number> {
  return v.parse(v.number(), await agent.request('guest-file-open', { path: FILE, mode }));
}

async function write(agent: Agent, handle: number, bytes: Buffer): Promise<void> {
  const args = { handle, 'buf-b64': bytes.toString('base64') };
  const { count } = v.parse(writtenSchema, await agent.request('guest-file-write', args));
  if (count !== bytes.length) throw new Error(`${count} of ${bytes.length} bytes were written`);
}

async function read(agent: Agent, handle: number, count: number): Promise<Buffer> {
  const reply = v.parse(readSchema, await agent.request('guest-file-read', { handle, count }));
  const bytes = Buffer.from(reply['buf-b64'], 'base64');
  if (bytes.length !== reply.count) throw new Error(`count ${reply.count}, but ${bytes.length} bytes`);
  return bytes;
}

function mustEqual(got: Buffer, wanted: Buffer, what: string): void {
  if (!got.equals(wanted))
    throw new Error(`${what}: ${got.length} bytes that differ from the ${wanted.length} wanted`);
}

/** A load's steps and their seconds, in order. */
export type Steps = ReadonlyMap<string, number>;

export class Loads {
  /** What is in the guest's file; scripts put it out. */
  readonly #payload = randomBytes(16 * MIB);
  readonly #agent: Agent;

  constructor(agent: Agent) {
    this.#agent = agent;
  }

  /** 16 MiB to the file and back, `chunkBytes` a request. */
  async file(chunkBytes: number): Promise<Steps> {
    const agent = this.#agent;
    const payload = this.#payload;
    const clock = new Clock();
    const handle = await openFile(agent, 'w+');
    for (let at = 0; at < payload.length; at += chunkBytes)
      await write(agent, handle, payload.subarray(at, at + chunkBytes));
    clock.lap('write');
    await agent.request('guest-file-seek', { handle, offset: 0, whence: 'set' });
    for (let at = 0; at < payload.length; at += chunkBytes)
      mustEqual(await read(agent, handle, chunkBytes), payload.subarray(at, at + chunkBytes), 'file');
    clock.lap('read');
    await agent.request('guest-file-close', { handle });
    return clock.steps;
  }

  /** A script that puts out the file, 16 MiB: all of it in one reply. */
  async output(): Promise<Steps> {
    const clock = new Clock();
    const [pid = 0] = await this.#agent.start([`cat ${FILES_DIR}/${FILE}\n`]);
    const { exitCode, output, truncated, collectMs } = await this.#agent.end(pid);
    clock.lap('start to collected');
    if (exitCode !== 0 || truncated) throw new Error(`exit code ${exitCode}, truncated: ${truncated}`);
    mustEqual(output, this.#payload, 'output');
    return new Map([...clock.steps, ['the reply', collectMs / 1000]]);
  }

  /** `count` jobs at once, each putting out another MiB of the file. */
  async jobs(count: number): Promise<Steps> {
    const clock = new Clock();
    const offsetOf = (index: number) => (index * 5) % 240; // of 64 KiB blocks
    const texts = Array.from(
      { length: count },
      (_, index) => `dd if=${FILES_DIR}/${FILE} bs=64k skip=${offsetOf(index)} count=16 2> /dev/null\n`,
    );
    const pids = await this.#agent.start(texts);
    clock.lap('started');
    for (const [index, pid] of pids.entries()) {
      const { exitCode, output, truncated } = await this.#agent.end(pid);
      if (exitCode !== 0 || truncated)
        throw new Error(`job ${index}: exit code ${exitCode}, truncated: ${truncated}`);
      const from = offsetOf(index) * 64 * 1024;
      mustEqual(output, this.#payload.subarray(from, from + MIB), `job ${index}`);
    }
    clock.lap('all collected');
    return clock.steps;
  }

  /** The largest read that there is, in one reply. */
  async largestRead(): Promise<Steps> {
    const agent = this.#agent;
    // in place: the data partition has no room for another 48 MiB
    const copy = `dd if=${FILE} of=${FILE} bs=1M count=16 conv=notrunc`;
    await agent.run(`cd ${FILES_DIR} && ${copy} seek=16 2> /dev/null && ${copy} seek=32 2> /dev/null`);
    const clock = new Clock();
    const handle = await openFile(agent, 'r');
    const bytes = await read(agent, handle, 48 * MIB);
    clock.lap('read');
    await agent.request('guest-file-close', { handle });
    mustEqual(bytes, Buffer.concat([this.#payload, this.#payload, this.#payload]), 'file');
    await agent.run(`truncate -s 16M ${FILES_DIR}/${FILE}`);
    return clock.steps;
  }
}

class Clock {
  readonly steps = new Map<string, number>();
  #since = performance.now();

  /** Seconds since the last lap. */
  lap(name: string): void {
    const now = performance.now();
    this.steps.set(name, (now - this.#since) / 1000);
    this.#since = now;
  }
}
