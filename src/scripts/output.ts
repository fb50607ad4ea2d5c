/**
 * Captured output: kept in memory up to a size a job, then in an unlinked file; capped, then marked truncated. All the
 * outputs of the daemon share a budget of memory and one of spilled bytes, since the guest may have 128 MB
 * (design.md "Measured before the first line was written").
 *
 * An output takes the bytes itself ({@link Output.fill}), so that a job that spills costs no buffer of its own: spilling
 * jobs take turns with one buffer, and meanwhile their pipes stay full and hold their scripts up.
 */
import type { FileHandle } from 'node:fs/promises';
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { Log } from '../log.ts';
import type { JobOutput } from './job.ts';
import { MemoryBlocks } from './memory-blocks.ts';
import { openUnlinked } from './unlinked-file.ts';

export interface OutputLimits {
  /** What one output keeps in memory before it spills. */
  memoryPerOutputBytes: number;
  /** What all outputs together keep in memory. */
  memoryTotalBytes: number;
  /** What is kept of one output; the rest is read and dropped. */
  outputBytes: number;
  /** What all outputs together keep in files. */
  spilledTotalBytes: number;
}

export const DEFAULT_OUTPUT_LIMITS: OutputLimits = {
  memoryPerOutputBytes: 256 * 1024,
  // with the two buffers and what a job needs besides, all jobs stay below 16 MiB
  memoryTotalBytes: 12 * 1024 * 1024,
  outputBytes: 16 * 1024 * 1024,
  spilledTotalBytes: 64 * 1024 * 1024,
};

/** Reads into buffer[start, end): bytes, 0 at the end, or -errno (the convention of native/addon.ts). */
export type ReadBytes = (buffer: Uint8Array, start: number, end: number) => number;

/** How a {@link Output.fill} ended: nothing there now, the stream's end (or its failure), or its share was used up. */
export type FillResult = 'empty' | 'end' | 'more';

export interface Output extends JobOutput {
  /**
   * Takes what `read` has: at once, or, if it must spill, later. Until that promise resolves it must not be called again.
   */
  fill(read: ReadBytes): FillResult | Promise<FillResult>;
  /** Gives the memory and the file back. What comes afterwards is dropped, and there is nothing to read any more. */
  release(): void;
}

export interface OutputArea {
  create(): Output;
  /** What is in use, for status and tests. */
  readonly memoryBytes: number;
  readonly spilledBytes: number;
}

export interface OutputAreaOptions {
  limits: OutputLimits;
  /** Where the unlinked files are; must exist. */
  spillDir: string;
  gate: FreezeGate;
  log: Log;
}

const READ_BYTES = 64 * 1024;
/** Reads in one fill, so that a job that writes a lot leaves the event loop, or the spill turn, to others. */
const READS_IN_MEMORY = 4;
const READS_IN_TURN = 16;

const EAGAIN = 11;
const EINTR = 4;

/** What the outputs share. */
interface Shared extends OutputAreaOptions {
  memoryBytes: number;
  spilledBytes: number;
  /** For reads that are copied or dropped before anything else runs. */
  readonly scratch: Buffer;
  /** For the one output whose turn it is to spill. */
  readonly spillBuffer: Buffer;
  /** Resolves when the last output that asked for a turn is through. */
  turn: Promise<void>;
}

export function createOutputArea(options: OutputAreaOptions): OutputArea {
  const shared: Shared = {
    ...options,
    memoryBytes: 0,
    spilledBytes: 0,
    scratch: Buffer.allocUnsafeSlow(READ_BYTES),
    spillBuffer: Buffer.allocUnsafeSlow(READ_BYTES),
    turn: Promise.resolve(),
  };
  return {
    create: () => new CapturedOutput(shared),
    get memoryBytes() {
      return shared.memoryBytes;
    },
    get spilledBytes() {
      return shared.spilledBytes;
    },
  };
}

/** The output of what captures none. */
export const NO_OUTPUT: JobOutput = { sizeBytes: 0, truncated: false, read: () => Promise.resolve(0) };

class CapturedOutput implements Output {
  sizeBytes = 0;
  truncated = false;
  readonly #shared: Shared;
  /** The bytes, while they are in memory. */
  #memory = new MemoryBlocks();
  /** The bytes, once they are spilled. */
  #file: FileHandle | null = null;
  #spilledBytes = 0;
  #released = false;
  /** Reads and writes of the file under way; it is closed after them. */
  #pendingCalls = 0;

  constructor(shared: Shared) {
    this.#shared = shared;
  }

  fill(read: ReadBytes): FillResult | Promise<FillResult> {
    for (let count = 0; count < READS_IN_MEMORY; count += 1) {
      const dropping = this.truncated || this.#released;
      const room = dropping ? READ_BYTES : this.#room();
      if (room === 0) return this.#fillInTurn(read);
      const got = read(this.#shared.scratch, 0, Math.min(room, READ_BYTES));
      const ended = fillEnd(got);
      if (ended !== null) return ended;
      if (!dropping) this.#keep(this.#shared.scratch.subarray(0, got));
    }
    return 'more';
  }

  async read(target: Uint8Array, start: number, end: number, position: number): Promise<number> {
    const wanted = Math.min(end - start, this.sizeBytes - position);
    if (wanted <= 0 || this.#released) return 0;
    if (this.#file === null) return this.#memory.read(target.subarray(start, start + wanted), position);
    const { bytesRead } = await this.#shared.gate.pass(() =>
      this.#call((file) => file.read(target, start, wanted, position)),
    );
    return bytesRead;
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#freeMemory();
    this.sizeBytes = 0;
    this.#closeIfUnused();
  }

  // --- memory

  /** Memory that this output may take beyond what it has. */
  #allowance(): number {
    const { limits, memoryBytes } = this.#shared;
    const own = limits.memoryPerOutputBytes - this.#memory.capacityBytes;
    return Math.max(0, Math.min(own, limits.memoryTotalBytes - memoryBytes));
  }

  /** Bytes that may be kept in memory beyond those that are. */
  #room(): number {
    return this.#file === null ? this.#memory.freeBytes + this.#allowance() : 0;
  }

  /** Keeps `chunk`, which fits in {@link CapturedOutput.#room}, up to the cap. */
  #keep(chunk: Uint8Array): void {
    const kept = chunk.subarray(0, this.#shared.limits.outputBytes - this.sizeBytes);
    if (kept.length < chunk.length) this.truncated = true;
    const before = this.#memory.capacityBytes;
    this.#memory.append(kept, this.#allowance());
    this.#shared.memoryBytes += this.#memory.capacityBytes - before;
    this.sizeBytes += kept.length;
  }

  #freeMemory(): void {
    this.#shared.memoryBytes -= this.#memory.capacityBytes;
    this.#memory = new MemoryBlocks();
  }

  // --- file

  async #fillInTurn(read: ReadBytes): Promise<FillResult> {
    const before = this.#shared.turn;
    const turn = Promise.withResolvers<void>();
    this.#shared.turn = turn.promise;
    await before;
    try {
      for (let count = 0; count < READS_IN_TURN && !this.truncated && !this.#released; count += 1) {
        const buffer = this.#shared.spillBuffer;
        const got = read(buffer, 0, buffer.length);
        const ended = fillEnd(got);
        if (ended !== null) return ended;
        if (this.#file === null) await this.#spillMemory();
        if (!this.truncated) await this.#spill(buffer.subarray(0, got));
      }
      return 'more';
    } finally {
      turn.resolve();
    }
  }

  /** Opens the file and moves there what is in memory; if that fails the output stays as it is, and is truncated. */
  async #spillMemory(): Promise<void> {
    const { limits, spilledBytes, spillDir, gate } = this.#shared;
    const memory = this.#memory;
    if (spilledBytes + memory.sizeBytes >= limits.spilledTotalBytes)
      return this.#truncate('too much is spilled already');
    let file: FileHandle | null = null;
    try {
      const opened = await gate.pass(() => openUnlinked(spillDir));
      file = opened;
      let position = 0;
      for (const piece of memory.pieces()) {
        for (let done = 0; done < piece.length; ) {
          const from = done;
          const { bytesWritten } = await gate.pass(() =>
            opened.write(piece, from, piece.length - from, position + from),
          );
          done += bytesWritten;
        }
        position += piece.length;
      }
    } catch (error) {
      if (file !== null) await this.#close(file);
      return this.#truncate(error);
    }
    if (this.#released) return this.#close(file);
    this.#freeMemory();
    this.#file = file;
    this.#addSpilled(memory.sizeBytes);
  }

  /** Adds a chunk to the file, up to the caps. */
  async #spill(chunk: Uint8Array): Promise<void> {
    const { limits, spilledBytes, gate } = this.#shared;
    const allowed = Math.min(limits.outputBytes - this.sizeBytes, limits.spilledTotalBytes - spilledBytes);
    const kept = chunk.subarray(0, Math.max(0, allowed));
    const position = this.sizeBytes;
    let done = 0;
    try {
      while (done < kept.length && !this.#released) {
        const { bytesWritten } = await gate.pass(() =>
          this.#call((file) => file.write(kept, done, kept.length - done, position + done)),
        );
        done += bytesWritten;
      }
    } catch (error) {
      this.#truncate(error);
    }
    if (this.#released) return;
    this.sizeBytes += done;
    this.#addSpilled(done);
    if (kept.length < chunk.length) this.truncated = true;
  }

  #addSpilled(bytes: number): void {
    this.#spilledBytes += bytes;
    this.#shared.spilledBytes += bytes;
  }

  #truncate(why: unknown): void {
    if (this.#released) return;
    this.truncated = true;
    const reason = why instanceof Error ? why.message : String(why);
    this.#shared.log.warning(`output of a script is truncated at ${this.sizeBytes} bytes: ${reason}`);
  }

  /** Calls into the file, which stays open as long. */
  async #call<T>(action: (file: FileHandle) => Promise<T>): Promise<T> {
    if (this.#file === null || this.#released) throw new Error('the output was released');
    this.#pendingCalls += 1;
    try {
      return await action(this.#file);
    } finally {
      this.#pendingCalls -= 1;
      this.#closeIfUnused();
    }
  }

  #closeIfUnused(): void {
    if (!this.#released || this.#pendingCalls > 0 || this.#file === null) return;
    const file = this.#file;
    this.#file = null;
    this.#addSpilled(-this.#spilledBytes);
    void this.#close(file);
  }

  /** Also a write: a file without a name is deleted by it. Never rejects. */
  async #close(file: FileHandle): Promise<void> {
    await this.#shared.gate.pass(() => file.close()).catch(() => undefined);
  }
}

/** The result of a fill that a read ends, or null if it gave bytes. */
function fillEnd(got: number): FillResult | null {
  if (got > 0) return null;
  return got === -EAGAIN || got === -EINTR ? 'empty' : 'end';
}
