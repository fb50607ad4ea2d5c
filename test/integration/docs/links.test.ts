/** Every link of the documents leads somewhere, the anchors too. */
import { existsSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';
import { anchors, links, PROJECT, readDocuments } from './markdown.ts';

const documents = readDocuments();
const anchorsOf = new Map(documents.map((document) => [document.path, anchors(document)]));

describe.each(documents.map((document) => [document.path, document] as const))('%s', (path, document) => {
  it('has no dead link', () => {
    const dead = links(document).filter((link) => {
      if (/^https?:/.test(link)) return false;
      const [file = '', anchor] = link.split('#');
      const target = file === '' ? path : normalize(join(path, '..', file));
      if (!existsSync(join(PROJECT, target))) return true;
      return anchor !== undefined && anchorsOf.get(target)?.includes(anchor) !== true;
    });
    expect(dead).toEqual([]);
  });

  it('is named in the README, or in a document that is', () => {
    if (path === 'README.md') return;
    const linking = documents.filter((other) =>
      links(other).some((link) => normalize(join(other.path, '..', link.split('#')[0] ?? '')) === path),
    );
    expect(linking.map((other) => other.path)).not.toEqual([]);
  });
});
