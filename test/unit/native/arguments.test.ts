/** Wrong arguments throw and touch nothing. */
import { describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';

/** Calls a function of the addon as untyped JavaScript could. */
function call(name: keyof typeof native, ...values: unknown[]): unknown {
  return Reflect.apply(native[name], native, values);
}

const buffer = Buffer.alloc(16);

describe('the addon', () => {
  it.each([
    [0, 17],
    [-1, 4],
    [5, 4],
    [17, 17],
    [0, Number.MAX_SAFE_INTEGER],
  ])('refuses [%d, %d) of 16 bytes', (start, end) => {
    for (const name of ['read', 'write'] as const)
      expect(() => call(name, -1, buffer, start, end)).toThrow(RangeError);
    expect(() => call('scanString', buffer, start, end, 34)).toThrow(RangeError);
    expect(() => call('base64Decode', buffer, start, end)).toThrow(RangeError);
    expect(() => call('base64DecodeAsync', buffer, start, end)).toThrow(RangeError);
    expect(() => call('base64Encode', buffer, start, end, buffer, 0)).toThrow(RangeError);
    expect(() => call('releasePages', buffer, start, end)).toThrow(RangeError);
  });

  it.each([
    ['read', ['1', buffer, 0, 1]],
    ['read', [0, 'text', 0, 1]],
    ['read', [0, new Uint16Array(4), 0, 1]],
    ['read', [0, new ArrayBuffer(4), 0, 1]],
    ['read', [0, buffer, '0', 1]],
    ['read', []],
    ['close', []],
    ['openDevice', [3]],
    ['openDevice', ['/dev/null\0']],
    ['listenUnix', ['/x', null]],
    ['waitPidfd', [{}]],
    ['spawn', []],
    ['spawn', [{ candidates: 'sh' }]],
    ['setRealTimeClock', [1]],
    ['freeze', ['/']],
    ['Poller', [0, 'level', () => {}]],
  ] as const)('%s%j is a TypeError', (name, values) => {
    expect(() => call(name, ...values)).toThrow(TypeError);
  });

  it('refuses a string with NUL for a process, and other things than strings', () => {
    const good = {
      candidates: ['/bin/true'],
      argv: ['true'],
      env: [],
      cwd: null,
      fds: [],
      newSession: false,
    };
    const wrong = [
      { argv: ['a\0b'] },
      { env: ['A=\0'] },
      { argv: [1] },
      { fds: ['0'] },
      { cwd: 1 },
      { newSession: 1 },
    ];
    for (const change of wrong) expect(() => call('spawn', { ...good, ...change })).toThrow(TypeError);
    const thrower = { ...good };
    Object.defineProperty(thrower, 'env', {
      get() {
        throw new EvalError('from a getter');
      },
    });
    expect(() => call('spawn', thrower)).toThrow(EvalError);
  });
});
