import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { commandForFile, commandForText, parseInterpreterLine } from '../../../src/scripts/interpreter.ts';

const present = (interpreter: string, argument: string | null = null) => ({
  kind: 'present',
  interpreter,
  argument,
});
const BROKEN = { kind: 'broken' };
const ABSENT = { kind: 'absent' };

describe('the #! line, as the kernel reads it', () => {
  const cases: [string, string, object][] = [
    ['plain', '#!/bin/sh\necho', present('/bin/sh')],
    ['no newline at all', '#!/bin/sh', present('/bin/sh')],
    ['blanks before the name', '#! \t /bin/sh\n', present('/bin/sh')],
    ['one argument', '#!/bin/sh -e\n', present('/bin/sh', '-e')],
    [
      'the rest is one argument',
      '#!/usr/bin/env  python3 -u -x \t\n',
      present('/usr/bin/env', 'python3 -u -x'),
    ],
    ['blanks at the end', '#!/bin/sh \t \n', present('/bin/sh')],
    ['CR belongs to the name', '#!/bin/sh\r\n', present('/bin/sh\r')],
    ['NUL ends the name', '#!/bin/sh\0 -e\n', present('/bin/sh')],
    ['NUL ends the argument', '#!/bin/sh -e\0x\n', present('/bin/sh', '-e')],
    ['a relative name', '#!sh\n', present('sh')],
    ['UTF-8', '#!/bin/ä ö\n', present('/bin/ä', 'ö')],
    ['nothing', '#!', BROKEN],
    ['only blanks', '#! \t\n', BROKEN],
    ['empty', '', ABSENT],
    ['one byte', '#', ABSENT],
    ['not at the start', ' #!/bin/sh\n', ABSENT],
    ['another comment', '# !/bin/sh\n', ABSENT],
    ['a name that is cut off', `#!/${'x'.repeat(300)}\n`, BROKEN],
    ['a name that just fits, by its newline', `#!/${'x'.repeat(252)}\n`, present(`/${'x'.repeat(252)}`)],
    ['an argument that is cut off', `#!/bin/sh ${'x'.repeat(300)}\n`, present('/bin/sh', 'x'.repeat(245))],
    ['256 blanks', `#!${' '.repeat(300)}/bin/sh\n`, BROKEN],
  ];
  it.each(cases)('%s', (_name, script, expected) => {
    expect(parseInterpreterLine(Buffer.from(script))).toEqual(expected);
  });

  it('takes any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        const line = parseInterpreterLine(Buffer.concat([Buffer.from('#!'), bytes]));
        if (line.kind === 'present') expect(line.interpreter).not.toMatch(/^$|[ \t\n\0]/);
      }),
    );
  });
});

describe('what runs a script', () => {
  const elf = Buffer.from('\x7fELF\x02', 'latin1');
  const withLine = Buffer.from('#!/usr/bin/awk -f\n');
  const plain = Buffer.from('echo\n');
  it.each([
    ['executable with #!', withLine, true, ['/f']],
    ['executable program', elf, true, ['/f']],
    ['executable text', plain, true, ['/bin/sh', '/f']],
    ['#! but not executable', withLine, false, ['/bin/sh', '/f']],
    ['text', plain, false, ['/bin/sh', '/f']],
    ['empty', Buffer.alloc(0), true, ['/bin/sh', '/f']],
  ])('a file: %s', (_name, head, executable, expected) => {
    expect(commandForFile('/f', head, executable, '/bin/sh')).toEqual(expected);
  });

  it.each([
    ['without #!', plain, ['/bin/sh', '/t']],
    ['with #! and an argument', withLine, ['/usr/bin/awk', '-f', '/t']],
    ['with #!', Buffer.from('#!/bin/bash\n'), ['/bin/bash', '/t']],
    ['with a broken #!', Buffer.from('#!\n'), null],
  ])('a text %s', (_name, text, expected) => {
    expect(commandForText('/t', text, '/bin/sh')).toEqual(expected);
  });
});
