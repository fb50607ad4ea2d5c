/** Files moved by virsh: everything must fit on a command line, so in pieces of 64 KiB. */
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import type { Guest } from '../guest.ts';
import { runText } from '../script.ts';

const PIECE_BYTES = 64 << 10;
const FILE = '/root/upload.bin';

const readReply = v.object({ count: v.number(), 'buf-b64': v.string(), eof: v.boolean() });

/** Bytes that look random and are the same in every run. */
export function testBytes(size: number): Buffer {
  const blocks: Buffer[] = [];
  for (let at = 0; at < size; at += 64) {
    blocks.push(createHash('sha512').update(`block ${at}`).digest());
  }
  return Buffer.concat(blocks).subarray(0, size);
}

export function fileSuite(guest: () => Guest): void {
  describe('files', () => {
    const content = testBytes(1 << 20);

    it('1 MiB up in pieces of 64 KiB', { timeout: 300_000 }, async () => {
      const handle = await guest().agent('guest-file-open', { path: FILE, mode: 'w' });
      for (let at = 0; at < content.length; at += PIECE_BYTES) {
        const piece = content.subarray(at, at + PIECE_BYTES);
        const reply = await guest().agent('guest-file-write', {
          handle,
          'buf-b64': piece.toString('base64'),
        });
        expect(reply).toEqual({ count: piece.length, eof: false });
      }
      expect(await guest().agent('guest-file-flush', { handle })).toEqual({});
      expect(await guest().agent('guest-file-close', { handle })).toEqual({});
      const sum = createHash('sha256').update(content).digest('hex');
      expect(await runText(guest(), `sha256sum ${FILE}`)).toEqual({
        exitcode: 0,
        output: `${sum}  ${FILE}\n`,
      });
    });

    it('and down again', { timeout: 300_000 }, async () => {
      const handle = await guest().agent('guest-file-open', { path: FILE });
      const pieces: Buffer[] = [];
      for (let eof = false; !eof; ) {
        const reply = v.parse(
          readReply,
          await guest().agent('guest-file-read', { handle, count: PIECE_BYTES }),
        );
        const piece = Buffer.from(reply['buf-b64'], 'base64');
        expect(piece.length).toBe(reply.count);
        pieces.push(piece);
        eof = reply.eof;
      }
      await guest().agent('guest-file-close', { handle });
      expect(Buffer.concat(pieces).equals(content)).toBe(true);
    });

    it('guest-file-seek', async () => {
      const handle = await guest().agent('guest-file-open', { path: FILE, mode: 'r' });
      const seek = { handle, offset: -16, whence: 'end' };
      expect(await guest().agent('guest-file-seek', seek)).toEqual({
        position: content.length - 16,
        eof: false,
      });
      expect(await guest().agent('guest-file-read', { handle, count: 16 })).toEqual({
        ...{ count: 16, eof: false },
        'buf-b64': content.subarray(-16).toString('base64'),
      });
      expect(await guest().agent('guest-file-read', { handle })).toEqual({
        count: 0,
        'buf-b64': '',
        eof: true,
      });
      await guest().agent('guest-file-close', { handle });
      await expect(guest().agent('guest-file-read', { handle })).rejects.toThrow('has not been found');
    });
  });
}
