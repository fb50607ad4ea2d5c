/** Bytes that are appended and read back, in blocks that double in size, so that small outputs cost little. */

const FIRST_BLOCK_BYTES = 4 * 1024;
const LARGEST_BLOCK_BYTES = 64 * 1024;

export class MemoryBlocks {
  /** Bytes that were appended, and those that the blocks take. */
  sizeBytes = 0;
  capacityBytes = 0;
  /** All full but the last. */
  #blocks: Buffer[] = [];

  get freeBytes(): number {
    return this.capacityBytes - this.sizeBytes;
  }

  /** Appends `bytes`, and takes at most `allowedBytes` of memory for it; the bytes must fit in these and what is free. */
  append(bytes: Uint8Array, allowedBytes: number): void {
    const first = bytes.subarray(0, this.freeBytes);
    const last = this.#blocks.at(-1);
    last?.set(first, last.length - this.freeBytes);
    const rest = bytes.subarray(first.length);
    if (rest.length > 0) {
      const doubled = Math.min(Math.max(this.capacityBytes, FIRST_BLOCK_BYTES), LARGEST_BLOCK_BYTES);
      const block = Buffer.allocUnsafeSlow(Math.max(rest.length, Math.min(doubled, allowedBytes)));
      block.set(rest);
      this.#blocks.push(block);
      this.capacityBytes += block.length;
    }
    this.sizeBytes += bytes.length;
  }

  /** Fills `target` from `position` on, which must be within the size. Returns the bytes it got. */
  read(target: Uint8Array, position: number): number {
    let filled = 0;
    let blockStart = 0;
    for (const piece of this.pieces()) {
      if (position + filled < blockStart + piece.length) {
        const from = position + filled - blockStart;
        const part = piece.subarray(from, from + target.length - filled);
        target.set(part, filled);
        filled += part.length;
        if (filled === target.length) break;
      }
      blockStart += piece.length;
    }
    return filled;
  }

  /** The bytes, in order. */
  *pieces(): Generator<Buffer> {
    let left = this.sizeBytes;
    for (const block of this.#blocks) {
      yield block.subarray(0, left);
      left -= block.length;
    }
  }
}
