/**
 * The packets of the vsocket variant: a length, then fields of type, id and value, all big endian but for the odd order of
 * an int64's halves (spec vmware.md section 13).
 */

export type VsocketPacket =
  /** `fastClose`: the host closes the connection after its reply. */
  | { readonly kind: 'data'; readonly payload: Buffer; readonly fastClose: boolean }
  | { readonly kind: 'ping' };

export class PacketError extends Error {
  override name = 'PacketError';
}

const INT64 = 1;
const STRING = 2;

const PACKET_TYPE = 1;
const PAYLOAD = 2;
const FAST_CLOSE = 3;

const DATA = 1;
const PING = 2;

const LENGTH_BYTES = 4;
/** Type and id. */
const FIELD_HEAD_BYTES = 8;
const INT64_BYTES = 8;
const UINT32 = 2 ** 32;
/** What a packet has besides its payload, generously. */
const OVERHEAD_BYTES = 256;

export function encodePacket(packet: VsocketPacket): Buffer {
  const fields =
    packet.kind === 'ping'
      ? [intField(PACKET_TYPE, PING)]
      : [
          intField(PACKET_TYPE, DATA),
          stringField(PAYLOAD, packet.payload),
          ...(packet.fastClose ? [intField(FAST_CLOSE, 1)] : []),
        ];
  const body = Buffer.concat(fields);
  return Buffer.concat([words(body.length), body]);
}

function intField(id: number, value: number): Buffer {
  return words(INT64, id, value, 0);
}

function stringField(id: number, value: Buffer): Buffer {
  return Buffer.concat([words(STRING, id, value.length), value]);
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.allocUnsafe(4 * values.length);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, 4 * index);
  return bytes;
}

/** One packet without its length. @throws {PacketError} */
export function decodePacket(body: Buffer): VsocketPacket {
  let type = 0;
  let payload: Buffer | null = null;
  let fastClose = false;
  for (const { id, value } of fieldsOf(body)) {
    if (id === PACKET_TYPE) type = expectInt(value);
    else if (id === PAYLOAD) payload = expectBytes(value);
    else if (id === FAST_CLOSE) fastClose = expectInt(value) !== 0;
  }
  if (type === PING) return { kind: 'ping' };
  if (type !== DATA) throw new PacketError(`a packet of unknown type ${type}`);
  if (payload === null) throw new PacketError('a data packet without data');
  return { kind: 'data', payload, fastClose };
}

function* fieldsOf(body: Buffer): Generator<{ id: number; value: number | Buffer }> {
  let at = 0;
  while (at < body.length) {
    need(body, at, FIELD_HEAD_BYTES);
    const type = body.readUInt32BE(at);
    const id = body.readUInt32BE(at + 4);
    at += FIELD_HEAD_BYTES;
    if (type === INT64) {
      need(body, at, INT64_BYTES);
      yield { id, value: body.readUInt32BE(at) + body.readUInt32BE(at + 4) * UINT32 };
      at += INT64_BYTES;
    } else if (type === STRING) {
      need(body, at, LENGTH_BYTES);
      const length = body.readUInt32BE(at);
      at += LENGTH_BYTES;
      need(body, at, length);
      yield { id, value: body.subarray(at, at + length) };
      at += length;
    } else {
      throw new PacketError(`a field of unknown type ${type}`);
    }
  }
}

function need(body: Buffer, at: number, count: number): void {
  if (body.length - at < count) throw new PacketError('a packet is cut off inside a field');
}

function expectInt(value: number | Buffer): number {
  if (typeof value !== 'number') throw new PacketError('a string where a number belongs');
  return value;
}

function expectBytes(value: number | Buffer): Buffer {
  if (typeof value === 'number') throw new PacketError('a number where a string belongs');
  return value;
}

/** Takes the bytes as they come. */
export interface PacketReader {
  /** @returns the packets that are complete now @throws {PacketError} then it is of no use any more */
  push(chunk: Buffer): VsocketPacket[];
  /** Whether the beginning of another packet has come. */
  readonly isInside: boolean;
}

export function createPacketReader(maxPayloadBytes: number): PacketReader {
  let chunks: Buffer[] = [];
  let held = 0;
  let wanted = LENGTH_BYTES;
  return {
    get isInside() {
      return held > 0;
    },
    push(chunk) {
      chunks.push(chunk);
      held += chunk.length;
      const packets: VsocketPacket[] = [];
      // joined only when something is complete: a long packet comes in many chunks
      while (held >= wanted) {
        const joined = chunks.length === 1 ? (chunks[0] ?? chunk) : Buffer.concat(chunks);
        // a command may hold a password, of which no second copy stays
        if (chunks.length > 1) for (const each of chunks) each.fill(0);
        const length = joined.readUInt32BE(0);
        if (length > maxPayloadBytes + OVERHEAD_BYTES) throw new PacketError(`a packet of ${length} bytes`);
        wanted = LENGTH_BYTES + length;
        chunks = [joined];
        if (held < wanted) break;
        packets.push(decodePacket(joined.subarray(LENGTH_BYTES, wanted)));
        chunks = [joined.subarray(wanted)];
        held -= wanted;
        wanted = LENGTH_BYTES;
      }
      return packets;
    },
  };
}
