/** Wrong arguments of the addon's backdoor functions throw before anything is executed. */
import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';

const registers = new Uint32Array(7);
const buffer = Buffer.alloc(16);

function call(
  name: 'backdoorCall' | 'backdoorRead' | 'backdoorWrite' | 'setIoPrivilege' | 'connectVsockFrom',
  values: unknown[],
) {
  return () => Reflect.apply(native[name], native, values);
}

describe("the addon's backdoor", () => {
  it.each([
    ['backdoorCall', []],
    ['backdoorCall', [0]],
    ['backdoorCall', [0, new Uint32Array(6)]],
    ['backdoorCall', [0, new Uint32Array(8)]],
    ['backdoorCall', [0, new Int32Array(7)]],
    ['backdoorCall', [0, Buffer.alloc(28)]],
    ['backdoorCall', ['0', registers]],
    ['backdoorRead', [0, registers, new Uint16Array(8), 0, 1]],
    ['backdoorRead', [0, registers, buffer]],
    ['backdoorWrite', [0, registers, 'text', 0, 1]],
    ['backdoorWrite', [0, [0, 0, 0, 0, 0, 0, 0], buffer, 0, 1]],
    ['setIoPrivilege', ['3']],
    ['connectVsockFrom', [1023, 0]],
  ] as const)('%s%j is a TypeError', (name, values) => {
    expect(call(name, [...values])).toThrow(TypeError);
  });

  it.each([
    ['backdoorCall', [3, registers]],
    ['backdoorCall', [-1, registers]],
    ['backdoorRead', [0, registers, buffer, 0, 17]],
    ['backdoorRead', [0, registers, buffer, -1, 4]],
    ['backdoorWrite', [0, registers, buffer, 5, 4]],
    ['backdoorWrite', [9, registers, buffer, 0, 4]],
  ] as const)('%s%j is a RangeError', (name, values) => {
    expect(call(name, [...values])).toThrow(RangeError);
  });

  it('knows the levels of privilege', () => {
    // some kernels have no iopl(2) at all
    expect([-constants.errno.EINVAL, -constants.errno.ENOSYS]).toContain(native.setIoPrivilege(4));
  });
});
