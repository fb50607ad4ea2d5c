import { describe, expect, it } from 'vitest';
import { parseResolver, resolver } from '../../../src/guest/resolver.ts';
import { fakeRoot } from './fake-root.ts';

describe('resolv.conf', () => {
  it.each([
    ['', [], []],
    ['nameserver 192.0.2.1\nnameserver fe80::1%eth0\n', ['192.0.2.1', 'fe80::1%eth0'], []],
    ['# comment\n; another\nnameserver\t192.0.2.1 # why\noptions edns0', ['192.0.2.1'], []],
    ['search a.example b.example\n', [], ['a.example', 'b.example']],
    ['search a.example\ndomain b.example\n', [], ['b.example']],
    ['domain b.example\nsearch a.example c.example', [], ['a.example', 'c.example']],
    [' nameserver 192.0.2.1\nnameserver\n', [], []],
  ])('%j', (text, servers, search) => {
    expect(parseResolver(text)).toEqual({ servers, search });
  });

  it('is read, if it is there', () => {
    using root = fakeRoot();
    expect(resolver(root.path)).toEqual({ servers: [], search: [] });
    root.file('etc/resolv.conf', 'nameserver 192.0.2.1\n');
    expect(resolver(root.path).servers).toEqual(['192.0.2.1']);
  });
});
