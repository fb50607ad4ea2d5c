/** The frame of a relayed VIX command, and its header of 51 bytes (spec vmware.md sections 7.1 and 7.2). Pure. */
import { VIX, VixFailure } from './errors.ts';

export interface VixFrame {
  /** For later reports. */
  readonly requestId: string;
  readonly request: Buffer;
}

export interface VixRequest {
  readonly opcode: number;
  readonly commonFlags: number;
  readonly requestFlags: number;
  readonly credentialType: number;
  readonly body: Buffer;
  readonly credential: Buffer;
  /** Whether the lengths fit each other exactly, which commands with a body demand. */
  readonly isExact: boolean;
}

/** The result is binary: `#` goes before it, and no NUL behind. */
export const COMMON_BINARY = 0x80;
export const REQUEST_ESCAPE_XML = 0x40;
const REQUEST_AUTH_DATA = 0x10;

const MAGIC = 0xd00d0001;
const VERSION = 5;
const COMMON_HEADER_BYTES = 23;
const HEADER_BYTES = 51;
const AUTH_DATA_BYTES = 44;
const MAX_BYTES = 16 * 1024 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * `"ID"`, whatever follows up to a NUL, and the binary request.
 * @returns null if there is no binary request
 */
export function parseFrame(argument: Buffer): VixFrame | null {
  const start = argument.indexOf(QUOTE) + 1;
  if (start === 0) return null;
  let end = start;
  while (end < argument.length && argument[end] !== QUOTE) end += argument[end] === BACKSLASH ? 2 : 1;
  const nul = argument.indexOf(0, end);
  if (end >= argument.length || nul < 0) return null;
  const requestId = argument.toString('utf8', start, end).replaceAll(/\\(.)/gs, '$1');
  return { requestId, request: argument.subarray(nul + 1) };
}

/** @throws {VixFailure} 10000 */
export function parseRequest(bytes: Buffer): VixRequest {
  const invalid = (): VixFailure => new VixFailure(VIX.INVALID_MESSAGE_HEADER);
  if (bytes.length < COMMON_HEADER_BYTES) throw invalid();
  const totalLength = bytes.readUInt32LE(6);
  const headerLength = bytes.readUInt32LE(10);
  const bodyLength = bytes.readUInt32LE(14);
  const credentialLength = bytes.readUInt32LE(18);
  if (bytes.readUInt32LE(0) !== MAGIC || bytes.readUInt16LE(4) !== VERSION) throw invalid();
  // sums of three 32-bit numbers are exact here
  const parts = headerLength + bodyLength + credentialLength;
  if (headerLength < COMMON_HEADER_BYTES || totalLength < parts || totalLength > MAX_BYTES) throw invalid();
  if (bytes.length < totalLength || bytes.length < HEADER_BYTES || headerLength < HEADER_BYTES)
    throw invalid();
  const requestFlags = bytes.readUInt32LE(27);
  const authLength = (requestFlags & REQUEST_AUTH_DATA) === 0 ? 0 : AUTH_DATA_BYTES;
  const bodyEnd = headerLength + bodyLength;
  return {
    opcode: bytes.readUInt32LE(23),
    commonFlags: bytes.readUInt8(22),
    requestFlags,
    credentialType: bytes.readUInt32LE(47),
    body: bytes.subarray(headerLength, bodyEnd),
    credential: bytes.subarray(bodyEnd, bodyEnd + credentialLength),
    isExact: totalLength === parts + authLength && headerLength === HEADER_BYTES,
  };
}
