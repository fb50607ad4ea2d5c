import { describe, expect, it } from 'vitest';
import { type Action, isOwnNamespace, refusal } from '../../../src/guest/actions/policy.ts';

describe('what a run without actions may not do', () => {
  it.each<[Action, RegExp]>([
    [{ kind: 'power', mode: 'powerdown' }, /shut the machine down/],
    [{ kind: 'power', mode: 'halt' }, /shut the machine down/],
    [{ kind: 'power', mode: 'reboot' }, /reboot/],
    [{ kind: 'set-clock' }, /clock/],
    [{ kind: 'slew-clock' }, /rate of the machine's clock/],
    [{ kind: 'sync-hardware-clock' }, /hardware clock/],
    [{ kind: 'freeze', mountPoint: '/', deviceMajor: 254 }, /freeze \//],
    [{ kind: 'freeze', mountPoint: '/x', deviceMajor: 0 }, /freeze \/x/],
    [{ kind: 'thaw', mountPoint: '/', deviceMajor: 8 }, /thaw \//],
    [{ kind: 'cpu', number: 3, online: false }, /CPU 3 offline/],
    [{ kind: 'memory-block', number: 9, online: false }, /memory block 9 offline/],
    [{ kind: 'set-password', user: 'root' }, /password of "root"/],
    [{ kind: 'write-authorized-keys', home: '/root', insideTestRoot: false }, /ssh keys in \/root/],
    [{ kind: 'change-qdisc', outsideInitial: false }, /initial network namespace/],
  ])('%o', (action, reason) => {
    expect(refusal(action)).toMatch(reason);
  });

  it.each<[Action]>([
    [{ kind: 'freeze', mountPoint: '/mnt', deviceMajor: 7 }],
    [{ kind: 'thaw', mountPoint: '/mnt', deviceMajor: 7 }],
    [{ kind: 'trim', mountPoint: '/' }],
    [{ kind: 'cpu', number: 3, online: true }],
    [{ kind: 'memory-block', number: 9, online: true }],
    [{ kind: 'write-authorized-keys', home: '/t/home', insideTestRoot: true }],
    [{ kind: 'change-qdisc', outsideInitial: true }],
  ])('allows %o', (action) => {
    expect(refusal(action)).toBeNull();
  });
});

describe('own network namespace', () => {
  it.each([
    ['net:[2]', 'net:[1]', true],
    ['net:[1]', 'net:[1]', false],
    ['net:[1]', null, false],
    [null, 'net:[1]', false],
    [null, null, false],
  ])('this process %s, process 1 %s: %s', (self, initial, own) => {
    expect(isOwnNamespace(self, initial)).toBe(own);
  });
});
