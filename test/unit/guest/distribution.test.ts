import { describe, expect, it } from 'vitest';
import { describeDistribution, distribution } from '../../../src/guest/distribution.ts';
import { fakeRoot } from './fake-root.ts';

const release = (keys: Record<string, string>) => new Map(Object.entries(keys));

describe('the distribution', () => {
  it.each([
    [
      'Debian',
      { ID: 'debian', PRETTY_NAME: 'Debian GNU/Linux 12 (bookworm)', VERSION_ID: '12' },
      '12.5',
      { id: 'debian', name: 'Debian 12.5', majorVersion: '12', minorVersion: '5' },
    ],
    [
      'Debian that is not out yet',
      { ID: 'debian', PRETTY_NAME: 'Debian GNU/Linux trixie/sid' },
      'trixie/sid',
      { id: 'debian', name: 'Debian trixie/sid', majorVersion: null, minorVersion: null },
    ],
    [
      'Ubuntu, which has a debian_version too',
      { ID: 'ubuntu', PRETTY_NAME: 'Ubuntu 22.04.4 LTS', VERSION_ID: '22.04' },
      'bookworm/sid',
      { id: 'ubuntu', name: 'Ubuntu 22.04.4 LTS', majorVersion: '22', minorVersion: '04' },
    ],
    [
      'CentOS',
      { ID: 'centos', PRETTY_NAME: 'CentOS Stream 9', VERSION_ID: '9' },
      null,
      { id: 'centos', name: 'CentOS Stream 9', majorVersion: '9', minorVersion: null },
    ],
    ['nothing', {}, null, { id: 'linux', name: 'Linux', majorVersion: null, minorVersion: null }],
    [
      'a rolling one',
      { ID: 'Arch', NAME: 'Arch Linux' },
      null,
      { id: 'arch', name: 'Arch Linux', majorVersion: null, minorVersion: null },
    ],
  ])('%s', (_what, keys, debianVersion, expected) => {
    expect(describeDistribution(release(keys), debianVersion)).toEqual(expected);
  });

  it('reads /etc/debian_version', () => {
    using root = fakeRoot();
    const debian = { release: release({ ID: 'debian', PRETTY_NAME: 'Debian', VERSION_ID: '12' }) };
    expect(distribution(debian, root.path).name).toBe('Debian');
    root.file('/etc/debian_version', '12.11\n');
    expect(distribution(debian, root.path)).toMatchObject({ name: 'Debian 12.11', minorVersion: '11' });
  });
});
