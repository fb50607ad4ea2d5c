/** Argument checks with QEMU's texts (spec qemu-ga.md section 3). */
import { describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../../src/protocols/qemu-ga/json/value.ts';
import { LongText } from '../../../src/protocols/qemu-ga/json/value.ts';
import {
  alternate,
  base64,
  bool,
  int,
  list,
  optional,
  parseArguments,
  required,
  str,
  struct,
  word,
} from '../../../src/protocols/qemu-ga/schema.ts';

const schema = {
  number: required(int, ''),
  text: optional(str, ''),
  flag: optional(bool, ''),
  data: optional(base64, ''),
  vcpus: optional(list(struct({ 'logical-id': required(int, ''), online: required(bool, '') })), ''),
  whence: optional(
    alternate<string | bigint>('GuestFileWhence', { string: word('set', 'cur'), integer: int }),
    '',
  ),
};

function parse(members: Record<string, JsonValue>) {
  return parseArguments(schema, new Map(Object.entries(members)));
}
const object = (members: Record<string, JsonValue>): JsonObject => new Map(Object.entries(members));

describe('arguments', () => {
  it('that are right arrive with their types', () => {
    const vcpus = [object({ 'logical-id': 1n, online: true })];
    expect(parse({ number: 5n, text: 'x', flag: false, data: 'QQ==', vcpus, whence: 'set' })).toEqual({
      number: 5n,
      text: 'x',
      flag: false,
      data: 'QQ==',
      vcpus: [{ 'logical-id': 1n, online: true }],
      whence: 'set',
    });
    expect(parse({ number: -9223372036854775808n, whence: 7n })).toEqual({
      number: -9223372036854775808n,
      whence: 7n,
    });
    const long = new LongText(Buffer.from('abc'), 0, 3, true);
    expect(parse({ number: 1n, text: long, data: long })).toEqual({ number: 1n, text: 'abc', data: long });
  });

  it.each<[Record<string, JsonValue>, string]>([
    [{}, "Parameter 'number' is missing"],
    [{ number: 1 }, "Invalid parameter type for 'number', expected: integer"],
    [{ number: 9223372036854775808n }, "Invalid parameter type for 'number', expected: integer"],
    [{ number: '1' }, "Invalid parameter type for 'number', expected: integer"],
    [{ number: null }, "Invalid parameter type for 'number', expected: integer"],
    [{ number: true }, "Invalid parameter type for 'number', expected: integer"],
    [{ number: 1n, text: null }, "Invalid parameter type for 'text', expected: string"],
    [{ number: 1n, flag: 1n }, "Invalid parameter type for 'flag', expected: boolean"],
    [{ number: 1n, data: 1n }, "Invalid parameter type for 'data', expected: string"],
    [{ number: 1n, vcpus: new Map() }, "Invalid parameter type for 'vcpus', expected: array"],
    [{ number: 1n, vcpus: [1n] }, "Invalid parameter type for 'vcpus[0]', expected: object"],
    [{ number: 1n, vcpus: [object({ 'logical-id': 0n })] }, "Parameter 'vcpus[0].online' is missing"],
    [
      { number: 1n, vcpus: [object({ 'logical-id': 0n, online: true, more: 1n })] },
      "Parameter 'vcpus[0].more' is unexpected",
    ],
    [{ number: 1n, whence: 'end' }, "Parameter 'whence' does not accept value 'end'"],
    [{ number: 1n, whence: true }, "Invalid parameter type for 'whence', expected: GuestFileWhence"],
    [{ number: 1n, whence: 1.5 }, "Invalid parameter type for 'whence', expected: GuestFileWhence"],
    [{ number: 1n, more: 1n }, "Parameter 'more' is unexpected"],
    [{ more: 1n }, "Parameter 'number' is missing"],
    [{ number: 1n, toString: 1n }, "Parameter 'toString' is unexpected"],
  ])('%o', (members, text) => expect(() => parse(members)).toThrow(text));
});
