/** messages.ts against license.proto, and the codec against protobufjs's own. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { describe, expect, it } from 'vitest';
import { licenseCodec, MalformedMessageError } from '../../../src/license/codec.ts';
import { ENUMS, MESSAGES, type Message } from '../../../src/license/messages.ts';

const proto = readFileSync(join(import.meta.dirname, '../../../src/license/license.proto'), 'utf8');
const { root } = protobuf.parse(proto);
const lookup = (name: string) => root.lookupType(`chr_agent.license.v1.${name}`);
const codec = await licenseCodec();

describe('messages.ts', () => {
  it('has the messages of license.proto', () => {
    const space = root.lookup('chr_agent.license.v1');
    const types = space instanceof protobuf.Namespace ? space.nestedArray : [];
    expect(types.map(({ name }) => name).sort()).toEqual(
      [...Object.keys(ENUMS), ...Object.keys(MESSAGES)].sort(),
    );
  });

  it.each(Object.entries(MESSAGES))('has the fields of %s', (name, fields) => {
    const inProto = lookup(name).fieldsArray.map((field) => [field.name, [field.id, field.type]]);
    expect(Object.fromEntries(inProto)).toEqual(fields);
  });

  it.each(Object.entries(ENUMS))('has the values of %s', (name, values) => {
    const inProto = Object.entries(root.lookupEnum(`chr_agent.license.v1.${name}`).values)
      .filter(([, value]) => value !== 0)
      .map(([key, value]) => [
        key.replace(`${name.toUpperCase()}_`, '').toLowerCase().replaceAll('_', '-'),
        value,
      ]);
    expect(Object.fromEntries(inProto)).toEqual(values);
  });
});

const bytes = fc.uint8Array({ maxLength: 300 });
const text = fc.string({ unit: 'binary', maxLength: 100 });
const level = fc.constantFrom(null, ...(Object.keys(ENUMS.Level) as (keyof typeof ENUMS.Level)[]));
const signedToken = fc.record({ payload: bytes, signature: bytes, keyId: text });
const request: fc.Arbitrary<Message<'RenewRequest'>> = fc.record({
  systemId: text,
  account: text,
  password: bytes,
  level,
  currentSerial: fc.maxSafeNat(),
  nonce: bytes,
  agentVersion: text,
  token: fc.option(signedToken),
});

describe('the codec', () => {
  it('reads what it wrote', () => {
    fc.assert(
      fc.property(request, (message) => {
        expect(codec.decode('RenewRequest', codec.encode('RenewRequest', message))).toEqual(message);
      }),
    );
  });

  it('writes what protobufjs with license.proto reads, and the other way round', () => {
    fc.assert(
      fc.property(request, (message) => {
        const type = lookup('RenewRequest');
        const other = type.toObject(type.decode(codec.encode('RenewRequest', message)), {
          longs: Number,
          defaults: true,
          bytes: Uint8Array,
        });
        expect({ ...other, level: null, password: null, nonce: null, token: null }).toEqual({
          ...message,
          level: null,
          password: null,
          nonce: null,
          token: null,
        });
        expect(other.level).toBe(message.level === null ? 0 : ENUMS.Level[message.level]);
        expect(Buffer.from(other.password)).toEqual(Buffer.from(message.password));
        expect(codec.decode('RenewRequest', type.encode(type.fromObject(other)).finish())).toEqual(message);
      }),
    );
  });

  it('gives a message or an error for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (garbage) => {
        try {
          codec.decode('RenewResponse', garbage);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedMessageError);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('skips fields that a later version may add', () => {
    const type = protobuf
      .parse(`syntax = "proto3"; message Later { string message = 2; fixed64 x = 90; bytes y = 91; }`)
      .root.lookupType('Later');
    const later = type.encode(type.fromObject({ message: 'm', x: 5, y: Buffer.from('yy') })).finish();
    expect(codec.decode('RenewResponse', later)).toMatchObject({ message: 'm', status: null, token: null });
  });

  it.each([
    ['an unknown enum value', [0x10, 0x63], { level: null }],
    ['a number beyond 2^53', [0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], null],
    ['another wire type', [0x0d, 1, 2, 3, 4], null],
    ['a string beyond the end', [0x0a, 0x05, 0x61], null],
    ['nothing', [], { systemId: '', level: null, serial: 0 }],
  ] as const)('%s', (_, raw, expected) => {
    const decode = () => codec.decode('LicenseToken', Uint8Array.from(raw));
    if (expected === null) expect(decode).toThrow(MalformedMessageError);
    else expect(decode()).toMatchObject(expected);
  });
});
