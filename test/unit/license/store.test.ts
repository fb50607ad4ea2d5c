/** The license on disk: what is read back, and what happens to damage. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  emptyLicense,
  formatState,
  openLicenseStore,
  parseState,
  type StoredLicense,
} from '../../../src/license/store.ts';
import { isSystemId, makeSystemId } from '../../../src/license/system-id.ts';
import { recordingLog } from '../../support/quiet-log.ts';

const LICENSE: StoredLicense = {
  systemId: '6lR1ZP/utuJ',
  hasHistory: true,
  highestSerial: 7,
  latestTimeMs: 1_767_225_600_000,
  token: Buffer.from('token'),
  renewal: { lastAttemptAtMs: 5, problem: 'why', isAnswered: false },
};

let directory: string;
beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), 'license-store-')), 'license');
});
afterEach(() => rmSync(join(directory, '..'), { recursive: true }));

describe('the system id', () => {
  it('is 64 bits as 11 base64 characters', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 8 }), (random) => {
        const id = makeSystemId(random);
        expect(isSystemId(id)).toBe(true);
        expect(Buffer.from(id, 'base64')).toEqual(Buffer.from(random));
      }),
    );
  });

  it("is accepted as the documentation's example has it", () => {
    expect(isSystemId('6lR1ZP/utuJ')).toBe(true);
    for (const other of ['', '6lR1ZP/utu', '6lR1ZP/utuJ=', '6lR1ZP-utuJ', '6lR1ZP/utuJ\n']) {
      expect(isSystemId(other)).toBe(false);
    }
  });
});

describe('the store', () => {
  it('is empty at first, and then has what was written, for root alone', async () => {
    const store = openLicenseStore(directory);
    expect(store.read()).toEqual({ kind: 'empty' });
    await store.write(LICENSE);
    expect(openLicenseStore(directory).read()).toEqual({ kind: 'stored', license: LICENSE });
    expect(readdirSync(directory).sort()).toEqual(['license.state', 'system-id']);
    expect(statSync(join(directory, 'license.state')).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(directory, 'system-id'), 'utf8')).toBe('6lR1ZP/utuJ\n');
  });

  it('keeps the id in step', async () => {
    const store = openLicenseStore(directory);
    await store.write(LICENSE);
    await store.write(emptyLicense('AAAAAAAAAAA', false, 0));
    expect(readFileSync(join(directory, 'system-id'), 'utf8')).toBe('AAAAAAAAAAA\n');
  });

  it('believes the state if the id is another one or gone: it is written first', async () => {
    await openLicenseStore(directory).write(LICENSE);
    writeFileSync(join(directory, 'system-id'), 'AAAAAAAAAAA\n');
    const store = openLicenseStore(directory);
    expect(store.read()).toEqual({ kind: 'stored', license: LICENSE });
    await store.write(LICENSE);
    expect(readFileSync(join(directory, 'system-id'), 'utf8')).toBe('6lR1ZP/utuJ\n');
  });

  it('sets damage aside and still knows the id', async () => {
    await openLicenseStore(directory).write(LICENSE);
    writeFileSync(join(directory, 'license.state'), 'damaged');
    const store = openLicenseStore(directory);
    expect(store.read()).toEqual({ kind: 'lost', systemId: '6lR1ZP/utuJ', wasDamaged: true });
    const log = recordingLog();
    store.setDamagedAside(log);
    expect(readFileSync(join(directory, 'license.state.damaged'), 'utf8')).toBe('damaged');
    expect(log.lines[0]).toMatch(
      /^warning: license: .*license.state is damaged, it is kept as .*; the level is free$/,
    );
    expect(store.read()).toEqual({ kind: 'lost', systemId: '6lR1ZP/utuJ', wasDamaged: false });
  });

  it('does not touch what a later version wrote', async () => {
    await openLicenseStore(directory).write(LICENSE);
    writeFileSync(join(directory, 'license.state'), '{"version":2,"anything":true}');
    expect(openLicenseStore(directory).read()).toEqual({
      kind: 'newer',
      systemId: '6lR1ZP/utuJ',
      version: 2,
    });
  });

  it('leaves no half of a file: a failed write keeps the old one', async () => {
    const store = openLicenseStore(directory);
    await store.write(LICENSE);
    // a directory where the temporary file would be
    mkdirSync(join(directory, 'license.state.new'));
    await expect(store.write({ ...LICENSE, highestSerial: 8 })).rejects.toThrow('EISDIR');
    expect(openLicenseStore(directory).read()).toEqual({ kind: 'stored', license: LICENSE });
  });
});

describe("the state's text", () => {
  const arbitrary = fc.record({
    systemId: fc.constant('6lR1ZP/utuJ'),
    hasHistory: fc.boolean(),
    highestSerial: fc.maxSafeNat(),
    latestTimeMs: fc.maxSafeNat(),
    token: fc.option(fc.uint8Array().map((bytes) => Buffer.from(bytes))),
    renewal: fc.record({
      lastAttemptAtMs: fc.option(fc.maxSafeNat()),
      problem: fc.option(fc.string()),
      isAnswered: fc.boolean(),
    }),
  });

  it('comes back as it was', () => {
    fc.assert(
      fc.property(arbitrary, (license) => {
        expect(parseState(formatState(license))).toEqual(license);
      }),
    );
  });

  it('is damaged by any cut and by any other byte', () => {
    const text = Buffer.from(formatState(LICENSE));
    // the last byte is the line's end
    for (let length = 0; length < text.length - 1; length += 1) {
      expect(parseState(text.subarray(0, length).toString())).toBeNull();
    }
    fc.assert(
      fc.property(fc.nat(text.length - 2), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const changed = Buffer.from(text);
        changed[at] = (changed[at] ?? 0) ^ change;
        const parsed = parseState(changed.toString('latin1'));
        // "version":1 may become a later one
        if (typeof parsed !== 'number') expect(parsed).toBeNull();
      }),
    );
  });

  it('with wrong types is damaged, not believed', () => {
    fc.assert(
      fc.property(fc.json(), (json) => {
        expect(parseState(json) === null || typeof parseState(json) === 'number').toBe(true);
      }),
    );
  });
});
