import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import {
  createOutputArea,
  DEFAULT_OUTPUT_LIMITS,
  type Output,
  type OutputLimits,
  type ReadBytes,
} from '../../../src/scripts/output.ts';

const spillDir = mkdtempSync(join(tmpdir(), 'chr-agent-output-'));
afterAll(() => rmSync(spillDir, { recursive: true, force: true }));

const created: Output[] = [];
afterEach(() => {
  for (const output of created.splice(0)) output.release();
});

const EAGAIN = 11;
const KIB = 1024;

function area(limits: Partial<OutputLimits> = {}, directory = spillDir) {
  const gate = createFreezeGate();
  const warnings: string[] = [];
  const quiet = () => undefined;
  const log = {
    error: quiet,
    info: quiet,
    debug: quiet,
    warning: (text: string) => void warnings.push(text),
  };
  const outputs = createOutputArea({
    limits: { ...DEFAULT_OUTPUT_LIMITS, ...limits },
    spillDir: directory,
    gate,
    log,
  });
  const create = () => {
    const output = outputs.create();
    created.push(output);
    return output;
  };
  return { outputs, create, gate, warnings };
}

/** A source that gives `bytes` in pieces of at most `pieceBytes`, then nothing. */
function source(bytes: Buffer, pieceBytes = Number.POSITIVE_INFINITY): ReadBytes {
  let at = 0;
  return (buffer, start, end) => {
    const piece = bytes.subarray(at, at + Math.min(end - start, pieceBytes));
    if (piece.length === 0) return -EAGAIN;
    buffer.set(piece, start);
    at += piece.length;
    return piece.length;
  };
}

async function fillAll(output: Output, read: ReadBytes): Promise<void> {
  while ((await output.fill(read)) === 'more') {}
}

async function contents(output: Output, pieceBytes = 100_000): Promise<Buffer> {
  const whole = Buffer.alloc(output.sizeBytes);
  for (let at = 0; at < whole.length; ) {
    const got = await output.read(whole, at, Math.min(whole.length, at + pieceBytes), at);
    if (got === 0) throw new Error(`ended at ${at} of ${whole.length}`);
    at += got;
  }
  expect(await output.read(Buffer.alloc(1), 0, 1, whole.length)).toBe(0);
  return whole;
}

/** Bytes that differ from place to place. */
function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);
  return bytes;
}

describe('captured output', () => {
  it('keeps a small one in memory, at once', () => {
    const { outputs, create } = area();
    const output = create();
    expect(output.fill(source(Buffer.from('hello')))).toBe('empty');
    expect(output.sizeBytes).toBe(5);
    expect(outputs.memoryBytes).toBeLessThanOrEqual(4 * KIB);
    expect(outputs.spilledBytes).toBe(0);
  });

  it('tells the end of the stream', () => {
    expect(
      area()
        .create()
        .fill(() => 0),
    ).toBe('end');
    expect(
      area()
        .create()
        .fill(() => -5),
    ).toBe('end');
  });

  it('spills beyond its memory, into a file without a name', async () => {
    const { outputs, create } = area();
    const output = create();
    const bytes = pattern(256 * KIB);
    await fillAll(output, source(bytes));
    expect([outputs.memoryBytes, outputs.spilledBytes]).toEqual([256 * KIB, 0]);
    await fillAll(output, source(Buffer.from('x')));
    expect([outputs.memoryBytes, outputs.spilledBytes]).toEqual([0, 256 * KIB + 1]);
    expect(readdirSync(spillDir)).toEqual([]);
    expect((await contents(output)).equals(Buffer.concat([bytes, Buffer.from('x')]))).toBe(true);
    output.release();
    expect([outputs.memoryBytes, outputs.spilledBytes]).toEqual([0, 0]);
  });

  it('spills earlier when the memory of all is short, and never takes more', async () => {
    const { outputs, create } = area({ memoryTotalBytes: 40 * KIB });
    const all = Array.from({ length: 20 }, () => create());
    const bytes = pattern(10 * KIB);
    await Promise.all(all.map((output) => fillAll(output, source(bytes, 3000))));
    expect(outputs.memoryBytes).toBeLessThanOrEqual(40 * KIB);
    expect(outputs.spilledBytes).toBeGreaterThan(0);
    for (const output of all) {
      expect((await contents(output)).equals(bytes)).toBe(true);
      expect(output.truncated).toBe(false);
      output.release();
    }
    expect([outputs.memoryBytes, outputs.spilledBytes]).toEqual([0, 0]);
  });

  it.each([
    ['in memory', 1000 * KIB],
    ['in a file', 10 * KIB],
  ])('is cut at the cap %s: exactly the cap is not truncated', async (_name, memoryPerOutputBytes) => {
    const { create } = area({ memoryPerOutputBytes, outputBytes: 100 * KIB });
    const output = create();
    const bytes = pattern(100 * KIB);
    await fillAll(output, source(bytes));
    expect([output.sizeBytes, output.truncated]).toEqual([100 * KIB, false]);
    await fillAll(output, source(Buffer.from('x')));
    expect([output.sizeBytes, output.truncated]).toEqual([100 * KIB, true]);
    await fillAll(output, source(Buffer.alloc(300 * KIB)));
    expect((await contents(output)).equals(bytes)).toBe(true);
  });

  it('is truncated when too much is spilled by all', async () => {
    const { create, warnings } = area({ memoryPerOutputBytes: 0, spilledTotalBytes: 150 * KIB });
    const [first, second, third] = [create(), create(), create()];
    await fillAll(first, source(pattern(100 * KIB)));
    await fillAll(second, source(pattern(100 * KIB)));
    await fillAll(third, source(pattern(100 * KIB)));
    expect([first.truncated, second.truncated, third.truncated]).toEqual([false, true, true]);
    expect([first.sizeBytes, second.sizeBytes, third.sizeBytes]).toEqual([100 * KIB, 50 * KIB, 0]);
    expect((await contents(second)).equals(pattern(50 * KIB))).toBe(true);
    expect(warnings.length).toBe(1);
  });

  it('keeps what it had when there is nowhere to spill', async () => {
    const { outputs, create, warnings } = area({ memoryPerOutputBytes: 8 * KIB }, join(spillDir, 'missing'));
    const output = create();
    await fillAll(output, source(pattern(20 * KIB)));
    expect([output.sizeBytes, output.truncated, outputs.spilledBytes]).toEqual([8 * KIB, true, 0]);
    expect((await contents(output)).equals(pattern(20 * KIB).subarray(0, 8 * KIB))).toBe(true);
    expect(warnings.join()).toMatch(/truncated at 8192 bytes: ENOENT/);
  });

  it('touches no file while frozen', async () => {
    const { create, gate } = area({ memoryPerOutputBytes: 0 });
    const output = create();
    gate.shut();
    let done = false;
    const filling = fillAll(output, source(Buffer.from('late'))).then(() => {
      done = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(done).toBe(false);
    gate.open();
    await filling;
    expect((await contents(output)).toString()).toBe('late');
  });

  it('drops what comes after its release, also in the middle of a spill', async () => {
    const { outputs, create } = area({ memoryPerOutputBytes: 8 * KIB });
    const output = create();
    const filling = fillAll(output, source(pattern(500 * KIB)));
    output.release();
    await filling;
    await fillAll(output, source(Buffer.from('more')));
    expect([output.sizeBytes, outputs.memoryBytes, outputs.spilledBytes]).toEqual([0, 0, 0]);
  });

  it('gives back what was put in, whatever the pieces and limits', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(30_000), { maxLength: 8 }),
        fc.integer({ min: 1, max: 20_000 }),
        fc.nat(40_000),
        fc.nat(60_000),
        fc.nat(50_000),
        async (lengths, pieceBytes, memoryPerOutputBytes, memoryTotalBytes, outputBytes) => {
          const { outputs, create } = area({ memoryPerOutputBytes, memoryTotalBytes, outputBytes });
          const output = create();
          const whole = pattern(lengths.reduce((sum, length) => sum + length, 0));
          let at = 0;
          for (const length of lengths) {
            await fillAll(output, source(whole.subarray(at, at + length), pieceBytes));
            at += length;
            expect(outputs.memoryBytes).toBeLessThanOrEqual(Math.min(memoryPerOutputBytes, memoryTotalBytes));
          }
          expect(output.truncated).toBe(whole.length > outputBytes);
          expect((await contents(output, 7777)).equals(whole.subarray(0, outputBytes))).toBe(true);
          output.release();
          expect([outputs.memoryBytes, outputs.spilledBytes]).toEqual([0, 0]);
        },
      ),
      { numRuns: 60 },
    );
  });
});
