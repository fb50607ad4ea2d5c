/** Process lists that are too long for one reply: the host fetches them piece by piece (spec vmware.md section 7.6). */
import { VIX, VixFailure } from './errors.ts';

export interface ResultPieces {
  /** The result itself if it fits, else its first piece with the key under which the rest is kept. */
  first(user: string, text: string): string;
  /** @throws {VixFailure} 1 for what is not kept */
  next(key: number, user: string, offset: number): string;
}

/** Of a piece, and of a result in one reply. */
const PIECE_BYTES = 65_300;
const KEPT_MS = 10 * 60_000;

/** Keeps one list: the host reads one to its end before it asks for another. */
export function createResultPieces(nowMs: () => number, pieceBytes = PIECE_BYTES): ResultPieces {
  let lastKey = 0;
  let kept: { key: number; user: string; bytes: Buffer; atMs: number } | null = null;

  function piece(bytes: Buffer, offset: number): { text: string; left: number } {
    let end = Math.min(bytes.length, offset + pieceBytes);
    // a character is not cut
    while (end < bytes.length && end > offset && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
    return { text: bytes.toString('utf8', offset, end), left: bytes.length - end };
  }

  return {
    first(user, text) {
      const bytes = Buffer.from(text);
      if (bytes.length <= pieceBytes) return text;
      lastKey += 1;
      kept = { key: lastKey, user, bytes, atMs: nowMs() };
      const { text: part, left } = piece(bytes, 0);
      // the reference counts the NUL at the end in the total
      return `<key>${lastKey}</key><totalSize>${bytes.length + 1}</totalSize><leftToSend>${left}</leftToSend>${part}`;
    },
    next(key, user, offset) {
      if (kept !== null && nowMs() - kept.atMs >= KEPT_MS) kept = null;
      if (kept === null || kept.key !== key || kept.user !== user || offset >= kept.bytes.length)
        throw new VixFailure(VIX.FAIL);
      const { text, left } = piece(kept.bytes, offset);
      if (left === 0) kept = null;
      return `<leftToSend>${left}</leftToSend>${text}`;
    },
  };
}
