/** What every guest operation has in common: no password stays in memory, whatever becomes of the request (spec vmware.md section 7). */
import { expect, it } from 'vitest';
import type { Authentication } from '../../../../src/guest/authentication.ts';
import { createFreezeGate } from '../../../../src/guest/freeze-gate.ts';
import { openToolsConf } from '../../../../src/protocols/vmtools/tools-conf.ts';
import { createGuestOperations } from '../../../../src/protocols/vmtools/vix/guest-ops.ts';
import { loginOnly } from '../../../../src/protocols/vmtools/vix/operations.ts';
import { passwordCredential, vixFrame } from '../../../hosts/vmx/vix.ts';
import { recordingLog } from '../../../support/quiet-log.ts';

const LOGIN = { user: 'operator', password: 'S3cret pw' };
const VALIDATE = 192;
const TOO_LONG = Buffer.alloc(100_000);
const CREDENTIAL = passwordCredential(LOGIN);
/** What the guest reads of it. */
const SECRET = CREDENTIAL.bytes.subarray(8);

const frame = (body?: Buffer, opcode = VALIDATE) => vixFrame(opcode, body, CREDENTIAL);
function withLength(at: number): Buffer {
  const bytes = frame();
  bytes.writeUInt32LE(0x7fffffff, at);
  return bytes;
}

function setUp(isRight: boolean) {
  const gate = createFreezeGate();
  const log = recordingLog();
  /** The buffers that it was given, and what was in them. */
  const seen: { bytes: Uint8Array; text: string }[] = [];
  const authentication: Authentication = {
    async authenticate(name, password) {
      seen.push({ bytes: password, text: Buffer.from(password).toString() });
      return isRight ? { name, uid: 1, gid: 1, groups: [], home: '/', shell: '/bin/sh' } : null;
    },
  };
  const part = createGuestOperations({
    operations: { [VALIDATE]: loginOnly },
    authentication,
    toolsState: () => '',
    toolsConf: openToolsConf({ path: '/nonexistent/tools.conf', gate, log }),
    gate,
    log,
    stop: () => undefined,
  });
  async function relay(request: Buffer, id = '"1"\0'): Promise<{ text: string; argument: Buffer }> {
    const argument = Buffer.concat([Buffer.from(id), request]);
    expect(argument.includes(SECRET)).toBe(true);
    const reply = await part.commands?.Vix_1_Relayed_Command?.(argument);
    return { text: Buffer.isBuffer(reply) ? String(reply) : String(reply?.result), argument };
  }
  return { gate, log, seen, relay };
}

it.each([
  ['a good login', true, frame(), '0 0 \0'],
  ['a bad one', false, frame(), '3050 0 \0'],
  ['an unknown command', true, frame(undefined, 5000), '3025 0 \0'],
  ['a request of more than 64 KiB', true, frame(TOO_LONG), '3 0 \0'],
  ['a header that lies of its length', true, withLength(6), '10000 0 \0'],
  ['a body that is longer than it may be', true, withLength(14), '10000 0 \0'],
])('the password is wiped after %s', async (_what, isRight, request, answer) => {
  const { log, seen, relay } = setUp(isRight);
  const { text, argument } = await relay(request);
  expect(text).toBe(answer);
  expect(argument.includes(SECRET)).toBe(false);
  for (const password of seen) {
    expect(password.text).toBe(LOGIN.password);
    expect(Buffer.from(password.bytes).every((byte) => byte === 0)).toBe(true);
  }
  expect(log.lines.join()).not.toContain(LOGIN.password);
});

it('the password is wiped while frozen, and where no request can be found', async () => {
  const { gate, seen, relay } = setUp(true);
  const unreadable = await relay(frame(), 'no quotes ');
  await gate.shut();
  const early = await relay(frame());
  expect([unreadable.text, early.text]).toEqual(['10000 0 \0', '5 0 \0']);
  for (const { argument } of [unreadable, early]) expect(argument.includes(SECRET)).toBe(false);
  expect(seen).toEqual([]);
});
