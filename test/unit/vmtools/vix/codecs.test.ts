/** The VIX codecs: vmware.md sections 7.1 to 7.3, 7.6 and 7.10. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as bodies from '../../../../src/protocols/vmtools/vix/bodies.ts';
import { passwordCredential } from '../../../../src/protocols/vmtools/vix/credentials.ts';
import { VixFailure } from '../../../../src/protocols/vmtools/vix/errors.ts';
import { parseFrame, parseRequest } from '../../../../src/protocols/vmtools/vix/header.ts';
import { createResultPieces } from '../../../../src/protocols/vmtools/vix/pieces.ts';
import { escapeValue, processEntry, propertyList } from '../../../../src/protocols/vmtools/vix/results.ts';
import * as host from '../../../hosts/vmx/vix.ts';

const START = {
  programPath: 'inline',
  arguments: 'echo "ä"',
  workingDirectory: '/d',
  environment: ['A=1', 'B='],
};
const CREDENTIAL = host.passwordCredential({ user: 'vmxtest', password: 'S3cret pw' });
const frame = () => host.vixFrame(185, host.startProgramBody(START), CREDENTIAL);

/** The error number of what fails. */
function codeOf(work: () => unknown): number | 'done' {
  try {
    work();
    return 'done';
  } catch (error) {
    if (error instanceof VixFailure) return error.code;
    throw error;
  }
}

/** Everything that parses a request. */
function parseAll(bytes: Buffer): void {
  const request = parseRequest(bytes);
  for (const parse of Object.values(bodies)) codeOf(() => parse(request));
  codeOf(() => passwordCredential(request));
}

describe('the frame (7.1)', () => {
  it.each([
    ['"ID"\0binary', 'ID'],
    ['"req-42" \0binary', 'req-42'],
    ['junk "a\\"b\\\\" more\0binary', 'a"b\\'],
    ['""\0binary', ''],
  ])('%j', (text, requestId) => {
    expect(parseFrame(Buffer.from(text))).toEqual({ requestId, request: Buffer.from('binary') });
  });
  it.each(['', 'ID\0x', '"ID', '"ID"', '"ID\\"\0x'])('%j has no request', (text) => {
    expect(parseFrame(Buffer.from(text))).toBeNull();
  });
});

describe('the header (7.2)', () => {
  it('is read', () => {
    expect(parseRequest(frame())).toMatchObject({ opcode: 185, credentialType: 4, isExact: true });
  });
  it.each([
    ['empty', () => Buffer.alloc(0)],
    ['cut in the common part', () => frame().subarray(0, 22)],
    ['cut in the rest', () => frame().subarray(0, 50)],
    ['cut in the body', () => frame().subarray(0, 60)],
    ['another magic', () => changed(0, 0xd00d0002)],
    ['another version', () => changed(4, 6)],
    ['a total that is too small', () => changed(6, 60)],
    ['a total of 4 GiB', () => changed(6, 0xffffffff)],
    ['a header of 22 bytes', () => changed(10, 22)],
    ['a header of 4 GiB', () => changed(10, 0xffffffff)],
    ['a body of 4 GiB', () => changed(14, 0xffffffff)],
    ['a credential of 4 GiB', () => changed(18, 0xffffffff)],
  ])('%s: 10000', (_, bytes) => {
    expect(codeOf(() => parseRequest(bytes()))).toBe(10000);
  });
  it('allows slack only to commands without a body', () => {
    const slack = Buffer.concat([frame(), Buffer.alloc(4)]);
    slack.writeUInt32LE(slack.length, 6);
    expect(codeOf(() => bodies.startProgram(parseRequest(slack)))).toBe(10000);
    expect(passwordCredential(parseRequest(slack)).name).toBe('vmxtest');
  });
  it('never throws anything but a VixFailure', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        codeOf(() => parseAll(Buffer.from(bytes)));
      }),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(frame().length - 1), fc.nat(255)), { maxLength: 4 }),
        (changes) => {
          const bytes = frame();
          for (const [at, value] of changes) bytes[at] = value;
          codeOf(() => parseAll(bytes));
        },
      ),
    );
  });
});

function changed(at: number, value: number): Buffer {
  const bytes = frame();
  if (at === 4) bytes.writeUInt16LE(value, at);
  else bytes.writeUInt32LE(value, at);
  return bytes;
}

const request = (body: Buffer) => parseRequest(host.vixFrame(1, body, CREDENTIAL));

describe('bodies', () => {
  it('start program (7.5)', () => {
    expect(bodies.startProgram(request(host.startProgramBody(START)))).toEqual({
      path: 'inline',
      args: 'echo "ä"',
      directory: '/d',
      environment: ['A=1', 'B='],
    });
  });
  it('start program with 1 MiB of arguments', () => {
    const body = host.startProgramBody({ programPath: 'inline', arguments: 'x'.repeat(1 << 20) });
    expect(bodies.startProgram(request(body)).args).toHaveLength(1 << 20);
  });
  it.each([
    ['a path beyond the end', 1, 0xffff],
    ['a path of 4 GiB', 1, 0xffffffff],
    ['a path that is cut', 1, 3],
    ['arguments of 4 GiB', 5, 0xffffffff],
    ['a directory of 4 GiB', 9, 0xfffffffe],
    ['4 G variables', 13, 0xffffffff],
    ['a variable too many', 13, 3],
    ['variables of 4 GiB', 17, 0xffffffff],
  ])('%s: 10001', (_, at, value) => {
    const body = host.startProgramBody(START);
    body.writeUInt32LE(value, at);
    expect(codeOf(() => bodies.startProgram(request(body)))).toBe(10001);
  });
  it('list processes (7.6)', () => {
    expect(bodies.listProcesses(request(host.listProcessesBody([1, 2 ** 40], 7, 9)))).toEqual({
      key: 7,
      offset: 9,
      pids: [1n, 2n ** 40n],
    });
    const lying = host.listProcessesBody([]);
    lying.writeUInt32LE(0xffffffff, 8);
    expect(codeOf(() => bodies.listProcesses(request(lying)))).toBe(10001);
  });
  it('run script (7.8): interpreter, properties, script', () => {
    const body = host.runScriptBody('/bin/sh', 'exit 5', { options: 1, properties: 'p' });
    expect(bodies.runScript(request(body))).toEqual({ options: 1, interpreter: '/bin/sh', script: 'exit 5' });
  });
});

describe('credentials (7.3)', () => {
  const withText = (text: string, type = 4) =>
    parseRequest(host.vixFrame(192, undefined, { type, bytes: Buffer.from(`\0\0\0\0\0\0\0\0${text}\0`) }));

  it.each([1, 4])('type %d is name and password', (type) => {
    const credential = passwordCredential(withText('dm14dGVzdABTM2NyZXQgcHcA', type));
    expect([credential.name, credential.password.toString()]).toEqual(['vmxtest', 'S3cret pw']);
  });
  it('wipes the password where it was and where it came from', () => {
    const source = withText('dm14dGVzdABTM2NyZXQgcHcA');
    const credential = passwordCredential(source);
    credential.wipe();
    expect(Buffer.concat([credential.password, source.credential]).every((byte) => byte === 0)).toBe(true);
  });
  it.each([0, 2, 3, 5, 8, 9, 10, 11, 12, 77])('type %d is not supported', (type) => {
    expect(codeOf(() => passwordCredential(withText('dm14dGVzdABTM2NyZXQgcHcA', type)))).toBe(6);
  });
  it.each(['', '!!!!', 'dm14', 'dm14dGVzdAA', '\\9'])('%j is none', (text) => {
    expect(codeOf(() => passwordCredential(withText(text)))).toBe(3050);
  });
  it('reads what the host side writes', () => {
    const name = fc.string({ minLength: 1, unit: 'grapheme' }).map((text) => text.replaceAll('\0', ''));
    fc.assert(
      fc.property(name, name, (user, password) => {
        const parsed = passwordCredential(
          parseRequest(host.vixFrame(1, undefined, host.passwordCredential({ user, password }))),
        );
        expect([parsed.name, parsed.password.toString()]).toEqual([
          Buffer.from(user).toString(),
          Buffer.from(password).toString(),
        ]);
      }),
    );
  });
});

describe('results', () => {
  it('escapes what could be mark-up (7.4)', () => {
    expect(escapeValue(`"a" % & 'b' <c>`)).toBe('%22a%22 %25 %26 %27b%27 %3Cc%3E');
  });
  it('an ended process (7.6)', () => {
    const process = { command: 'sh', name: `"/bin/sh" -c 'exit 7'`, pid: 20380, user: 'vmxcal' };
    const end = { exitCode: 7, atSeconds: 1795553532 };
    expect(processEntry({ ...process, startSeconds: 1795553531, end })).toBe(
      '<proc><cmd>sh</cmd><name>%22/bin/sh%22 -c %27exit 7%27</name><pid>20380</pid><user>vmxcal</user><start>1795553531</start><eCode>7</eCode><eTime>1795553532</eTime></proc>',
    );
  });
  it('a property list (7.10)', () => {
    expect(
      propertyList([
        [4501, 'int32', 1],
        [4504, 'text', ''],
        [4540, 'bool', true],
      ]),
    ).toBe('lREAAAEAAAAEAAAAAQAAAJgRAAACAAAAAQAAAAC8EQAAAwAAAAEAAAAB');
  });
  it('a list in pieces (7.6)', () => {
    let now = 0;
    const pieces = createResultPieces(() => now, 10);
    expect(pieces.first('u', 'short')).toBe('short');
    expect(pieces.first('u', '0123456789abcdefghij!')).toBe(
      '<key>1</key><totalSize>22</totalSize><leftToSend>11</leftToSend>0123456789',
    );
    expect(codeOf(() => pieces.next(1, 'other', 10))).toBe(1);
    expect(codeOf(() => pieces.next(2, 'u', 10))).toBe(1);
    expect(codeOf(() => pieces.next(1, 'u', 21))).toBe(1);
    expect(pieces.next(1, 'u', 10)).toBe('<leftToSend>1</leftToSend>abcdefghij');
    expect(pieces.next(1, 'u', 20)).toBe('<leftToSend>0</leftToSend>!');
    expect(codeOf(() => pieces.next(1, 'u', 20))).toBe(1);
    pieces.first('u', '0123456789ab');
    now = 600_000;
    expect(codeOf(() => pieces.next(2, 'u', 10))).toBe(1);
  });
});
