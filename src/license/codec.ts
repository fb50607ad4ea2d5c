/**
 * Protobuf codec for the few messages of license.proto: protobufjs reads and writes the wire, the tables of messages.ts say
 * what. protobufjs is loaded at the first use, since a guest at the free level never needs it.
 */
import type { Reader, Writer } from 'protobufjs/minimal.js';
import {
  ENUMS,
  type EnumName,
  type FieldType,
  MESSAGES,
  type Message,
  type MessageName,
} from './messages.ts';

export interface LicenseCodec {
  encode<Name extends MessageName>(name: Name, message: Message<Name>): Uint8Array;
  /** @throws {MalformedMessageError} */
  decode<Name extends MessageName>(name: Name, bytes: Uint8Array): Message<Name>;
}

/** Bytes that are no such message. */
export class MalformedMessageError extends Error {
  override name = 'MalformedMessageError';
}

const VARINT = 0;
const LENGTH_DELIMITED = 2;

interface Field {
  readonly name: string;
  readonly number: number;
  readonly type: FieldType;
}

const FIELDS: Readonly<Record<string, readonly Field[]>> = Object.fromEntries(
  Object.entries(MESSAGES).map(([name, fields]) => [
    name,
    Object.entries(fields).map(([field, [number, type]]): Field => ({ name: field, number, type })),
  ]),
);

let codec: LicenseCodec | undefined;

export async function licenseCodec(): Promise<LicenseCodec> {
  if (codec !== undefined) return codec;
  const { default: protobuf } = await import('protobufjs/minimal.js');
  codec = {
    encode: (name, message) => {
      const writer = protobuf.Writer.create();
      write(writer, name, message);
      return writer.finish();
    },
    decode: (name, bytes) => {
      try {
        // the tables give the fields exactly these types
        return read(protobuf.Reader.create(bytes), name) as Message<typeof name>;
      } catch (cause) {
        throw new MalformedMessageError(`not a ${name}`, { cause });
      }
    },
  };
  return codec;
}

function write(writer: Writer, message: string, values: object): void {
  for (const { name, number, type } of FIELDS[message] ?? []) {
    const value: unknown = Reflect.get(values, name);
    if (value === null || value === '' || value === 0) continue;
    if (typeof value === 'string' && isEnum(type)) {
      writer.uint32(tag(number, VARINT)).int32(Reflect.get(ENUMS[type], value));
    } else if (typeof value === 'string') writer.uint32(tag(number, LENGTH_DELIMITED)).string(value);
    else if (typeof value === 'number') writer.uint32(tag(number, VARINT)).uint64(value);
    else if (value instanceof Uint8Array) {
      if (value.length > 0) writer.uint32(tag(number, LENGTH_DELIMITED)).bytes(value);
    } else if (typeof value === 'object') {
      writer.uint32(tag(number, LENGTH_DELIMITED)).fork();
      write(writer, type, value);
      writer.ldelim();
    }
  }
}

/** Of a field that comes twice the last one counts; unknown fields are skipped. */
function read(reader: Reader, message: string, end = reader.len): Record<string, unknown> {
  const fields = FIELDS[message] ?? [];
  const values: Record<string, unknown> = Object.fromEntries(
    fields.map(({ name, type }) => [name, defaultOf(type)]),
  );
  while (reader.pos < end) {
    const key = reader.uint32();
    const wireType = key & 7;
    const field = fields.find(({ number }) => number === key >>> 3);
    if (field === undefined) {
      reader.skipType(wireType);
      continue;
    }
    const isVarint = field.type === 'uint64' || isEnum(field.type);
    if (wireType !== (isVarint ? VARINT : LENGTH_DELIMITED)) throw new RangeError(`${field.name}: wire type`);
    values[field.name] = readField(reader, field);
  }
  if (reader.pos !== end) throw new RangeError('a field reaches beyond its message');
  return values;
}

function readField(reader: Reader, { name, type }: Field): unknown {
  if (isEnum(type)) {
    const value = reader.int32();
    return Object.entries(ENUMS[type]).find(([, number]) => number === value)?.[0] ?? null;
  }
  switch (type) {
    case 'bytes':
      // a copy: the message's buffer is wiped or used again
      return Uint8Array.from(reader.bytes());
    case 'string':
      return reader.string();
    case 'uint64': {
      const value = Number(reader.uint64());
      if (!Number.isSafeInteger(value)) throw new RangeError(`${name}: ${value}`);
      return value;
    }
    case 'SignedToken': {
      const sizeBytes = reader.uint32();
      if (sizeBytes > reader.len - reader.pos) throw new RangeError(`${name}: beyond the end`);
      return read(reader, type, reader.pos + sizeBytes);
    }
  }
}

function defaultOf(type: FieldType): unknown {
  switch (type) {
    case 'bytes':
      return new Uint8Array();
    case 'string':
      return '';
    case 'uint64':
      return 0;
    default:
      return null;
  }
}

const isEnum = (type: FieldType): type is EnumName => Object.hasOwn(ENUMS, type);
const tag = (number: number, wireType: number): number => (number << 3) | wireType;
