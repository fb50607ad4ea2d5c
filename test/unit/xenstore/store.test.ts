/** The embedded store's parts that are functions; how it behaves is compared with C xenstored in test/integration/xenstore. */
import { describe, expect, it } from 'vitest';
import {
  absolutePath,
  childOf,
  isWithin,
  nameOf,
  parentOf,
} from '../../../src/protocols/xenstore/store/paths.ts';
import {
  OWN,
  parsePermissions,
  READ,
  rightsOf,
  WRITE,
} from '../../../src/protocols/xenstore/store/permissions.ts';
import { createTree } from '../../../src/protocols/xenstore/store/tree.ts';

describe('a path', () => {
  it.each([
    ['data/x', '/local/domain/5/data/x'],
    ['/', '/'],
    ['/a/b', '/a/b'],
    ['/a-b_c@d', '/a-b_c@d'],
    ['', null],
    ['a/', null],
    ['a//b', null],
    ['a.b', null],
    ['a b', null],
    ['@releaseDomain', null],
    ['x'.repeat(2048), `/local/domain/5/${'x'.repeat(2048)}`],
    ['x'.repeat(2049), null],
  ])('%j', (path, absolute) => {
    expect(absolutePath(5, path)).toBe(absolute);
  });

  it('has a parent, a name, children', () => {
    expect([parentOf('/a/b'), parentOf('/a'), parentOf('/')]).toEqual(['/a', '/', undefined]);
    expect([nameOf('/a/b'), childOf('/', 'a'), childOf('/a', 'b')]).toEqual(['b', '/a', '/a/b']);
    expect([isWithin('/a/b', '/a'), isWithin('/a', '/'), isWithin('/ab', '/a')]).toEqual([true, true, false]);
  });
});

describe('permissions', () => {
  it.each([
    [['n5'], 5, READ | WRITE | OWN],
    [['n5'], 6, 0],
    [['n5'], 0, READ | WRITE | OWN],
    [['r0'], 5, READ],
    [['n0', 'r5'], 5, READ],
    [['r0', 'w5'], 5, WRITE],
    [['b0', 'n5'], 5, 0],
    [['b0', 'n5'], 6, READ | WRITE],
  ])('%j to domain %i', (texts, domain, rights) => {
    expect(rightsOf(domain, parsePermissions(texts) ?? [])).toBe(rights);
  });

  it.each([[[]], [['x5']], [['n']], [['n5', 'r']], [['n-1']], [['n5x']]])('%j are none', (texts) => {
    expect(parsePermissions(texts)).toBeNull();
  });
});

describe('a transaction', () => {
  const content = (text: string) => ({ value: Buffer.from(text), children: [], permissions: [] });

  it('depends on what it has looked at, also on what was not there', () => {
    const tree = createTree();
    const direct = tree.direct(() => {});
    const transaction = tree.begin();
    expect(transaction.get('/a')).toBeUndefined();
    direct.set('/a', content('1'));
    expect(transaction.commit()).toBeNull();
  });

  it('does not depend on what it has not, nor on what it had a peek at', () => {
    const tree = createTree();
    const direct = tree.direct(() => {});
    const transaction = tree.begin();
    transaction.peek('/a');
    transaction.set('/b', content('2'));
    direct.set('/a', content('1'));
    expect(direct.get('/b')).toBeUndefined();
    expect(transaction.commit()).toEqual([]);
    expect(String(direct.get('/b')?.value)).toBe('2');
  });
});
