// What a host may write in vmbackup.start and .startWithOpts: spec vmware.md section 8.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BadBackupRequest,
  plainRequest,
  requestedMountPoints,
  requestWithOptions,
} from '../../../../src/protocols/vmtools/backup/request.ts';
import { parseToolsConf } from '../../../../src/protocols/vmtools/tools-conf.ts';
import { encodeQuiesceOptions } from '../../../hosts/vmx/codecs/quiesce-options.ts';
import { recordingLog } from '../../../support/quiet-log.ts';

const conf = (text = '') => parseToolsConf(Buffer.from(text), recordingLog());
const DEFAULT = {
  wantsManifest: false,
  freezes: true,
  runsScripts: true,
  scriptArgument: null,
  timeLimitMs: 900_000,
  mountPoints: null,
};

describe('vmbackup.start', () => {
  it.for([
    ['', {}],
    ['0', {}],
    ['1', { wantsManifest: true }],
    ['1 all', { wantsManifest: true }],
    ['0 6000c29e-1111 6000c29e-2222', {}],
    [' 1  /srv /', { wantsManifest: true, mountPoints: ['/srv', '/'] }],
    ['x', {}],
  ] as const)('%j', ([argument, expected]) => {
    expect(plainRequest(argument, conf(), 'chr')).toEqual({ ...DEFAULT, ...expected });
  });

  it('runs no scripts in upstream without any argument, as the reference', () => {
    expect(plainRequest('', conf(), 'upstream').runsScripts).toBe(false);
    expect(plainRequest('0', conf(), 'upstream').runsScripts).toBe(true);
  });

  it('takes the rest from the configuration', () => {
    const file = conf(
      '[vmbackup]\nexecScripts=false\nscriptArg=two words\ntimeout=30\nenableSyncDriver=false\nquiesceFS=false\n',
    );
    expect(plainRequest('1', file, 'upstream')).toEqual({
      wantsManifest: true,
      freezes: false,
      runsScripts: false,
      scriptArgument: 'two words',
      timeLimitMs: 30_000,
      mountPoints: null,
    });
  });

  it.for([0, -1])('has its own time limit for %i', (seconds) => {
    expect(plainRequest('0', conf(`[vmbackup]\ntimeout=${seconds}\n`), 'chr').timeLimitMs).toBe(900_000);
  });
});

describe('vmbackup.startWithOpts', () => {
  const refusal = (bytes: Buffer) => {
    try {
      return requestWithOptions(bytes, conf());
    } catch (error) {
      if (error instanceof BadBackupRequest) return error.message;
      throw error;
    }
  };

  it('reads every field', () => {
    const bytes = encodeQuiesceOptions({
      createManifest: true,
      quiesceFS: true,
      writableSnapshot: true,
      execScripts: true,
      scriptArg: 'odd',
      timeoutSeconds: 7,
      diskUuids: 'a b',
    });
    expect(requestWithOptions(bytes, conf())).toEqual({
      ...DEFAULT,
      wantsManifest: true,
      scriptArgument: 'odd',
      timeLimitMs: 7000,
    });
  });

  it.for([
    [{}, false],
    [{ quiesceApps: true }, true],
    [{ quiesceFS: true }, true],
  ] as const)('freezes only if that is asked for: %j', ([options, freezes]) => {
    expect(requestWithOptions(encodeQuiesceOptions(options), conf()).freezes).toBe(freezes);
  });

  it('never waits longer than a timer can', () => {
    const bytes = encodeQuiesceOptions({ timeoutSeconds: 0xffffffff });
    expect(requestWithOptions(bytes, conf()).timeLimitMs).toBe(2 ** 31 - 1);
  });

  it('refuses what is for Windows', () => {
    expect(refusal(encodeQuiesceOptions({ version: 2 }))).toBe('Incompatible quiesce parameter version');
  });

  it.for([
    ['nothing', Buffer.alloc(0)],
    ['an unknown version', encodeQuiesceOptions({ version: 3 })],
    ['an absent structure', Buffer.concat([encodeQuiesceOptions({}).subarray(0, 4), Buffer.alloc(40)])],
    ['a long argument', encodeQuiesceOptions({ scriptArg: 'x'.repeat(257) })],
    ['a long list', encodeQuiesceOptions({ diskUuids: 'x'.repeat(3201) })],
  ] as const)('refuses %s', ([, bytes]) => {
    expect(refusal(bytes)).toBe('XDR deserialization failed.');
  });

  it('has an answer to any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        refusal(Buffer.from(bytes));
      }),
    );
    const whole = encodeQuiesceOptions({ scriptArg: 'argument', diskUuids: 'one two' });
    for (let size = 0; size < whole.length; size += 1)
      expect(refusal(whole.subarray(0, size))).toBe('XDR deserialization failed.');
  });
});

describe('requestedMountPoints', () => {
  const mounted = () => ['/', '/srv', '/var/lib/docker/x'];
  it.for([
    [null, '', null],
    [['/srv'], '', ['/srv']],
    [null, '/var/*, /srv', ['/']],
    [['/srv', '/'], '/s*', ['/']],
  ] as const)('%j without %j', ([mountPoints, excluded, expected]) => {
    const request = { ...DEFAULT, mountPoints };
    const file = conf(`[vmbackup]\nexcludedFileSystems=${excluded}\n`);
    expect(requestedMountPoints(request, file, mounted)).toEqual(expected);
  });
});
