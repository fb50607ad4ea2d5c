/**
 * The message codec of the store's wire protocol, both directions (spec/xenstore.md section 2). Pure: bytes in, messages out.
 */

/** Header: type, request id, transaction id, payload length; 32 bits each, little-endian. */
export const HEADER_BYTES = 16;
export const MAX_PAYLOAD_BYTES = 4096;

/** Numbers 20 (once RESTRICT) and from 23 on are not used. */
export const MessageType = {
  CONTROL: 0,
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  INTRODUCE: 8,
  RELEASE: 9,
  GET_DOMAIN_PATH: 10,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
  IS_DOMAIN_INTRODUCED: 17,
  RESUME: 18,
  SET_TARGET: 19,
  RESET_WATCHES: 21,
  DIRECTORY_PART: 22,
} as const;
export type MessageTypeName = keyof typeof MessageType;
export type MessageTypeNumber = (typeof MessageType)[MessageTypeName];

const NAMES = new Map<number, string>(Object.entries(MessageType).map(([name, number]) => [number, name]));

/** `READ`, or `type 99`. */
export function messageTypeName(type: number): string {
  return NAMES.get(type) ?? `type ${type}`;
}

export interface Message {
  /** As it came: may be none of {@link MessageType}. */
  readonly type: number;
  readonly requestId: number;
  readonly transactionId: number;
  readonly payload: Buffer;
}

/** The peer's bytes are no messages, or no answers to what was asked: nothing that follows can be trusted. */
export class XenstoreProtocolError extends Error {
  override name = 'XenstoreProtocolError';
}

/** @throws RangeError when the payload is longer than {@link MAX_PAYLOAD_BYTES} */
export function encodeMessage(message: Omit<Message, 'payload'> & { readonly payload: Uint8Array }): Buffer {
  const { type, requestId, transactionId, payload } = message;
  if (payload.length > MAX_PAYLOAD_BYTES) throw new RangeError(`a payload of ${payload.length} bytes`);
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  bytes.writeUInt32LE(type, 0);
  bytes.writeUInt32LE(requestId, 4);
  bytes.writeUInt32LE(transactionId, 8);
  bytes.writeUInt32LE(payload.length, 12);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

export interface MessageDecoder {
  /**
   * Takes the next bytes of the stream, split anywhere, and returns the messages that they complete. The payloads are copies.
   * @throws {XenstoreProtocolError} on a length over {@link MAX_PAYLOAD_BYTES}; the decoder is of no use afterwards
   */
  push(chunk: Uint8Array): Message[];
  /** Whether the stream must not end here. */
  readonly isMidMessage: boolean;
}

export function createDecoder(): MessageDecoder {
  const header = Buffer.alloc(HEADER_BYTES);
  let headerBytes = 0;
  /** Of the message whose header is complete. */
  let payload: Buffer | undefined;
  let payloadBytes = 0;

  /** Takes what belongs to the current message from chunk[start…]; returns how much that was. */
  function take(chunk: Uint8Array, start: number): number {
    const target = payload ?? header;
    const filled = payload === undefined ? headerBytes : payloadBytes;
    const part = chunk.subarray(start, start + target.length - filled);
    target.set(part, filled);
    if (payload === undefined) headerBytes += part.length;
    else payloadBytes += part.length;
    return part.length;
  }

  function startPayload(): void {
    const lengthBytes = header.readUInt32LE(12);
    if (lengthBytes > MAX_PAYLOAD_BYTES)
      throw new XenstoreProtocolError(
        `a payload of ${lengthBytes} bytes was announced (${messageTypeName(header.readUInt32LE(0))})`,
      );
    payload = Buffer.allocUnsafeSlow(lengthBytes);
    payloadBytes = 0;
  }

  return {
    push(chunk) {
      const messages: Message[] = [];
      let at = 0;
      while (at < chunk.length) {
        at += take(chunk, at);
        if (payload === undefined && headerBytes === HEADER_BYTES) startPayload();
        if (payload !== undefined && payloadBytes === payload.length) {
          messages.push({
            type: header.readUInt32LE(0),
            requestId: header.readUInt32LE(4),
            transactionId: header.readUInt32LE(8),
            payload,
          });
          payload = undefined;
          headerBytes = 0;
        }
      }
      return messages;
    },
    get isMidMessage() {
      return headerBytes > 0;
    },
  };
}

/** Texts, each followed by one NUL, as most payloads are made of. */
export function encodeTexts(...texts: readonly string[]): Buffer {
  return Buffer.from(texts.map((text) => `${text}\0`).join(''), 'utf8');
}

/** The texts of such a payload. An empty one holds none; a missing last NUL is forgiven. */
export function decodeTexts(payload: Buffer): string[] {
  if (payload.length === 0) return [];
  const end = payload[payload.length - 1] === 0 ? payload.length - 1 : payload.length;
  return payload.toString('utf8', 0, end).split('\0');
}

export interface DirectoryPart {
  /** Changes with the node: parts of different generations do not belong together. */
  readonly generation: string;
  readonly names: string[];
  /** What the next part's offset has to be advanced by. */
  readonly listBytes: number;
  readonly isLast: boolean;
}

/** A reply of DIRECTORY_PART: generation, names; an extra NUL after the last one (spec sections 2 and 8). @throws {XenstoreProtocolError} */
export function decodeDirectoryPart(payload: Buffer): DirectoryPart {
  const generationEnd = payload.indexOf(0);
  const list = payload.subarray(generationEnd + 1);
  if (generationEnd < 0 || (list.length > 0 && list[list.length - 1] !== 0))
    throw new XenstoreProtocolError('a part of a directory that is none');
  const isLast = list.length > 0 && (list.length === 1 || list[list.length - 2] === 0);
  const names = isLast ? list.subarray(0, list.length - 1) : list;
  return {
    generation: payload.toString('latin1', 0, generationEnd),
    names: decodeTexts(names),
    listBytes: names.length,
    isLast,
  };
}
