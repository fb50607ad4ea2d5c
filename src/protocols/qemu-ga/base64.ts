/** Base64 arguments (spec qemu-ga.md section 3): decoded where they were received when they are long. */
import type { NativeAddon } from '../../native/index.ts';
import { QapiError } from './errors.ts';
import { LongText } from './json/value.ts';

/** Texts longer than this are decoded on the thread pool: about a millisecond of decoding. */
const ASYNC_ABOVE_BYTES = 1024 * 1024;

/**
 * @returns the decoded bytes: of a long text in place, so its text is gone afterwards.
 * @throws {QapiError} when it has invalid characters.
 */
export function decodeBase64(text: string | LongText, native: NativeAddon): Buffer | Promise<Buffer> {
  if (!(text instanceof LongText)) {
    const bytes = Buffer.from(text, 'latin1');
    // a character beyond one byte must not become a valid letter
    const length = /[^\n-z]/.test(text) ? -1 : native.base64Decode(bytes, 0, bytes.length);
    return decoded(bytes, 0, length);
  }
  const { bytes, start, end, isBase64 } = text;
  if (!isBase64) throw invalidCharacters();
  if (end - start <= ASYNC_ABOVE_BYTES) return decoded(bytes, start, native.base64Decode(bytes, start, end));
  return native.base64DecodeAsync(bytes, start, end).then((length) => decoded(bytes, start, length));
}

function decoded(bytes: Buffer, start: number, length: number): Buffer {
  if (length < 0) throw invalidCharacters();
  return bytes.subarray(start, start + length);
}

function invalidCharacters(): QapiError {
  return new QapiError('Base64 data contains invalid characters');
}
