import fc from 'fast-check';
import { parse } from 'smol-toml';
import { describe, expect, it } from 'vitest';
import { lineOfKey } from '../../../src/agent/config-location.ts';

const TEXT = `# comment [not.a.table]
top = 1

[qemu-ga] # comment
method = "a # b" # c = 1
"quoted key" = '''
path = "inside a string"
'''
path = """
\\"""not the end
x = 1""""
list = [
  "a", # one
  [2,
   3],
  { inner = 1, other = "]" },
]
inline = { a.b = 1, c = { d = 2 } }
after = true
  [a . 'b.c'."d\\u0065"]
  key.sub = 1979-05-27T07:32:00Z
[[many]]
x = 1
[[many]]
y = 1`;

describe('the line of a key', () => {
  it('is tested with a valid document', () => {
    expect(Object.keys(parse(TEXT))).toEqual(['top', 'qemu-ga', 'a', 'many']);
  });

  it.each([
    ['top', 2],
    ['qemu-ga', 4],
    ['qemu-ga/method', 5],
    ['qemu-ga/quoted key', 6],
    ['qemu-ga/path', 9],
    ['qemu-ga/list', 12],
    ['qemu-ga/list/0', 13],
    ['qemu-ga/list/1/1', 15],
    ['qemu-ga/list/2/inner', 16],
    ['qemu-ga/inline/a/b', 18],
    ['qemu-ga/inline/c/d', 18],
    ['qemu-ga/after', 19],
    ['a/b.c/de', 20],
    ['a/b.c/de/key/sub', 21],
    ['many/x', 23],
    ['many/y', 25],
  ])('%s', (key, line) => {
    expect(lineOfKey(TEXT, key.split('/'))).toBe(line);
  });

  it('is that of the nearest table around a key that is not there', () => {
    expect(lineOfKey(TEXT, ['qemu-ga', 'nope'])).toBe(4);
    expect(lineOfKey(TEXT, ['nope'])).toBe(1);
  });

  it('counts CRLF as one line end', () => {
    expect(lineOfKey('a = 1\r\n\r\nb = 2\r\n', ['b'])).toBe(3);
  });

  it('ends on any text', () => {
    const piece = fc.constantFrom(
      '[',
      ']',
      '{',
      '}',
      '"',
      "'",
      '"""',
      '=',
      '.',
      ',',
      '\n',
      '#',
      'a',
      ' ',
      '\\',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        expect(lineOfKey(pieces.join(''), ['a', 'a'])).toBeGreaterThan(0);
      }),
    );
  });
});
