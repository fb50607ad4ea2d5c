/** Packets of the vsocket variant, both directions; vmware.md section 13. */

export interface VsocketPacket {
  readonly type: 'data' | 'ping';
  readonly payload: Buffer;
  /** The host closes the connection after the reply. */
  readonly fastClose: boolean;
}

const FIELD = { TYPE: 1, PAYLOAD: 2, FAST_CLOSE: 3 } as const;
const INT64 = 1;
const STRING = 2;
const MAX_PACKET_BYTES = 1 << 20;

/** Low half first, each half big endian. */
function int64Field(id: number, value: number): Buffer {
  const field = Buffer.alloc(16);
  for (const [i, word] of [INT64, id, value, 0].entries()) field.writeUInt32BE(word, i * 4);
  return field;
}

export function encodePacket({ type, payload, fastClose }: VsocketPacket): Buffer {
  const head = Buffer.alloc(12);
  for (const [i, word] of [STRING, FIELD.PAYLOAD, payload.length].entries()) head.writeUInt32BE(word, i * 4);
  const body = Buffer.concat([
    int64Field(FIELD.TYPE, type === 'data' ? 1 : 2),
    ...(type === 'data' ? [head, payload] : []),
    ...(fastClose ? [int64Field(FIELD.FAST_CLOSE, 1)] : []),
  ]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** @param body - what follows the length */
export function decodePacket(body: Buffer): VsocketPacket {
  let type: number | undefined;
  let payload = Buffer.alloc(0) as Buffer;
  let fastClose = false;
  let at = 0;
  while (at < body.length) {
    const kind = body.readUInt32BE(at);
    const id = body.readUInt32BE(at + 4);
    const first = body.readUInt32BE(at + 8);
    at += 12;
    if (kind === INT64) {
      if (id === FIELD.TYPE) type = first;
      if (id === FIELD.FAST_CLOSE) fastClose = first === 1;
      body.readUInt32BE(at);
      at += 4;
    } else if (kind === STRING) {
      if (at + first > body.length) throw new Error('vsocket packet: a string runs past the end');
      if (id === FIELD.PAYLOAD) payload = body.subarray(at, at + first);
      at += first;
    } else throw new Error(`vsocket packet: field type ${kind}`);
  }
  if (type !== 1 && type !== 2) throw new Error(`vsocket packet: type ${type}`);
  return { type: type === 1 ? 'data' : 'ping', payload, fastClose };
}

/** Splits a byte stream; returns what it yields for each piece. */
export function packetReader(): (piece: Buffer) => VsocketPacket[] {
  let pending: Buffer = Buffer.alloc(0);
  return (piece) => {
    pending = Buffer.concat([pending, piece]);
    const packets: VsocketPacket[] = [];
    while (pending.length >= 4) {
      const length = pending.readUInt32BE();
      if (length > MAX_PACKET_BYTES) throw new Error(`vsocket packet: ${length} bytes`);
      if (pending.length < 4 + length) break;
      packets.push(decodePacket(Buffer.from(pending.subarray(4, 4 + length))));
      pending = pending.subarray(4 + length);
    }
    return packets;
  };
}
