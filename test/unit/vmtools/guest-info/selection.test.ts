/** Which interfaces the host hears of (spec vmware.md section 6.7), and who says so (chr-wiki.txt, "Guest info"). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  DEFAULT_EXCLUDED,
  matcher,
  selectInterfaces,
} from '../../../../src/protocols/vmtools/guest-info/selection.ts';
import {
  guestInfoSettings,
  type HostSettings,
  NO_HOST_SETTINGS,
  readHostSettings,
} from '../../../../src/protocols/vmtools/guest-info/settings.ts';
import { parseToolsConf } from '../../../../src/protocols/vmtools/tools-conf.ts';
import { recordingLog } from '../../../support/quiet-log.ts';
import { hostRpci } from './host-rpci.ts';

describe('patterns', () => {
  it.each<[string, string, boolean]>([
    ['eth0', 'eth0', true],
    ['eth0', 'eth01', false],
    ['eth0', 'xeth0', false],
    ['eth*', 'eth', true],
    ['eth*', 'eth12', true],
    ['*', '', true],
    ['eth?', 'eth1', true],
    ['eth?', 'eth', false],
    ['eth[0-2]', 'eth1', true],
    ['eth[0-2]', 'eth3', false],
    ['eth[!0-2]', 'eth3', true],
    ['eth[^0-2]', 'eth1', false],
    ['eth[]a]', 'eth]', true],
    ['eth[[:digit:]x]', 'eth7', true],
    ['eth[2-0]', 'eth1', false],
    ['eth[', 'eth[', true],
    ['eth\\*', 'eth*', true],
    ['eth\\*', 'eth1', false],
    ['e.h0', 'eth0', false],
    ['(a|b)', '(a|b)', true],
    ['docker*, veth*', 'veth12', true],
    ['docker*, veth*', 'eth0', false],
    [',,', '', false],
    ['', '', false],
    ['ETH0', 'eth0', false],
    ['**', 'anything', true],
  ])('%j and %j: %s', (patterns, name, matches) => {
    expect(matcher(patterns)(name)).toBe(matches);
  });

  it('never throw, whatever stands there', () => {
    const piece = fc.constantFrom(
      '[',
      ']',
      '!',
      '^',
      '-',
      '\\',
      '*',
      '?',
      'a',
      'z',
      '[:alpha:]',
      '(',
      '{',
      '/',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        expect(matcher(pieces.join(''))('eth0')).toBeTypeOf('boolean');
      }),
      { numRuns: 1000 },
    );
  });

  it('of plain text match that text only', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z0-9._@:+()|^$-]{1,15}$/), (name) => {
        expect(matcher(name)(name)).toBe(true);
        expect(matcher(name)(`${name}x`)).toBe(false);
      }),
    );
  });
});

describe('interfaces', () => {
  const all = ['lo', 'eth0', 'eth1', 'wg0', 'br0', 'down0', 'docker0', 'bare0'].map((name) => ({
    name,
    up: name !== 'down0',
    loopback: name === 'lo',
    addresses: name === 'bare0' ? [] : ['an address'],
  }));
  const select = (exclude: string, primary = '', lowPriority = '', withoutAddress = false) =>
    selectInterfaces(all, { exclude, primary, lowPriority }, withoutAddress).map(({ name }) => name);

  it.each([
    [DEFAULT_EXCLUDED, '', '', ['eth0', 'eth1', 'wg0', 'br0']],
    ['', '', '', ['eth0', 'eth1', 'wg0', 'br0', 'docker0']],
    ['docker*', 'br*', 'eth*', ['br0', 'wg0', 'eth0', 'eth1']],
    ['docker*', 'br*,wg*', '', ['wg0', 'br0', 'eth0', 'eth1']],
    ['docker*', 'eth1', '*', ['eth1', 'eth0', 'wg0', 'br0']],
    ['*', 'eth0', '', []],
    ['eth*', 'eth0', '', ['wg0', 'br0', 'docker0']],
  ])('without %j, %j first, %j last', (exclude, primary, low, names) => {
    expect(select(exclude, primary, low)).toEqual(names);
  });

  it('without an address where that is wanted', () => {
    expect(select('docker*', '', '', true)).toEqual(['eth0', 'eth1', 'wg0', 'br0', 'bare0']);
  });
});

describe('settings', () => {
  const conf = (text: string) => parseToolsConf(Buffer.from(text), recordingLog());

  it('are asked for by info-get', async () => {
    const { vmx, rpci } = hostRpci();
    expect(await readHostSettings(rpci)).toEqual(NO_HOST_SETTINGS);
    vmx.variables.set('guestinfo.exclude-nics', 'wg*');
    vmx.variables.set('guestinfo.primary-nics', 'eth1');
    vmx.variables.set('guestinfo.low-priority-nics', '');
    vmx.variables.set('guestinfo.disable-perfmon', 'False');
    expect(await readHostSettings(rpci)).toEqual({
      disablePerfmon: false,
      excludeNics: 'wg*',
      primaryNics: 'eth1',
      lowPriorityNics: '',
    });
    expect(vmx.rpci.calls.map(({ text }) => text).slice(0, 4)).toEqual([
      'info-get guestinfo.disable-perfmon',
      'info-get guestinfo.exclude-nics',
      'info-get guestinfo.primary-nics',
      'info-get guestinfo.low-priority-nics',
    ]);
  });

  it.each([
    ['TRUE', true],
    ['true', true],
    ['fAlSe', false],
    ['0', null],
    ['', null],
  ])('disable-perfmon = %j is %s', async (value, disablePerfmon) => {
    const { vmx, rpci } = hostRpci();
    vmx.variables.set('guestinfo.disable-perfmon', value);
    expect((await readHostSettings(rpci)).disablePerfmon).toBe(disablePerfmon);
  });

  it('the host goes before tools.conf, and that before the defaults', () => {
    const tools = conf(
      '[guestinfo]\nexclude-nics=a*\nprimary-nics=b*\nlow-priority-nics=c*\nmax-ipv6-routes=0\n',
    );
    const host: HostSettings = { ...NO_HOST_SETTINGS, excludeNics: 'x*', lowPriorityNics: '' };
    expect(guestInfoSettings(host, tools, 'chr')).toMatchObject({
      nics: { exclude: 'x*', primary: 'b*', lowPriority: '' },
      routes: { ipv4: 100, ipv6: 0 },
    });
    expect(guestInfoSettings(NO_HOST_SETTINGS, conf(''), 'chr')).toEqual({
      nics: { exclude: DEFAULT_EXCLUDED, primary: '', lowPriority: '' },
      routes: { ipv4: 100, ipv6: 100 },
      areStatisticsReported: false,
      areDisksReported: true,
      includeReserved: false,
      areDevicesReported: true,
      shortName: null,
      fullName: null,
    });
  });

  it.each<[boolean | null, string, 'chr' | 'upstream', boolean]>([
    [null, '', 'chr', false],
    [null, '', 'upstream', true],
    [false, '', 'chr', true],
    [true, '', 'upstream', false],
    [null, 'disable-perf-mon=false', 'chr', true],
    [null, 'disable-perf-mon=true', 'upstream', false],
    [false, 'disable-perf-mon=true', 'upstream', true],
    [true, 'disable-perf-mon=false', 'chr', false],
  ])('statistics: host %s, tools.conf %j, %s: %s', (disablePerfmon, line, compat, areReported) => {
    const host = { ...NO_HOST_SETTINGS, disablePerfmon };
    const settings = guestInfoSettings(host, conf(`[guestinfo]\n${line}\n`), compat);
    expect(settings.areStatisticsReported).toBe(areReported);
  });
});
