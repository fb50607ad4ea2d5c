/** licensing.md "Console": the form of `print`, and how passwords are read. */
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { openConsoleInput } from '../../../src/agent/cli/console-input.ts';
import { formatDate, formatLicense, licenseJson } from '../../../src/agent/cli/license-print.ts';
import type { LicenseReport } from '../../../src/license/report.ts';

const FREE: LicenseReport = {
  systemId: '6lR1ZP/utuJ',
  level: 'free',
  state: 'free',
  nextRenewalAtMs: null,
  deadlineAtMs: null,
  trialEndsAtMs: null,
  problem: null,
  accountHint: null,
  canHaveNewId: true,
};
const PAID: LicenseReport = {
  ...FREE,
  level: 'p1',
  state: 'paid',
  nextRenewalAtMs: Date.UTC(2016, 0, 10, 21, 59, 59),
  deadlineAtMs: Date.UTC(2016, 1, 9, 21, 59, 59),
  canHaveNewId: false,
};

describe('license print', () => {
  it("looks as the documentation's two examples", () => {
    expect(formatLicense(FREE)).toBe('  system-id: 6lR1ZP/utuJ\n      level: free\n');
    expect(formatLicense(PAID)).toBe(`        system-id: 6lR1ZP/utuJ
            level: p1
  next-renewal-at: jan/10/2016 21:59:59
      deadline-at: feb/09/2016 21:59:59
`);
  });

  it('has further lines where they apply', () => {
    const ended: LicenseReport = {
      ...PAID,
      state: 'trial-ended',
      trialEndsAtMs: PAID.deadlineAtMs,
      problem: 'wrong password',
    };
    expect(formatLicense(ended)).toBe(`         system-id: 6lR1ZP/utuJ
             level: p1
   next-renewal-at: jan/10/2016 21:59:59
       deadline-at: feb/09/2016 21:59:59
     trial-ends-at: feb/09/2016 21:59:59
  limited-upgrades: yes
            status: wrong password
`);
    expect(formatLicense({ ...PAID, state: 'paid-expired' })).toContain('  limited-upgrades: yes\n');
    expect(formatLicense({ ...PAID, state: 'paid-renewing' })).not.toContain('limited-upgrades');
  });

  it('writes dates as the router does, in UTC', () => {
    expect(formatDate(Date.UTC(2026, 11, 1, 2, 3, 4))).toBe('dec/01/2026 02:03:04');
  });

  it('as JSON has the same names', () => {
    expect(licenseJson(PAID)).toEqual({
      'system-id': '6lR1ZP/utuJ',
      level: 'p1',
      state: 'paid',
      'next-renewal-at': '2016-01-10T21:59:59.000Z',
      'deadline-at': '2016-02-09T21:59:59.000Z',
      'trial-ends-at': null,
      'limited-upgrades': false,
      status: null,
      account: null,
      'can-generate-new-id': false,
    });
  });
});

class FakeTerminal extends PassThrough {
  readonly isTTY = true;
  readonly rawModes: boolean[] = [];
  setRawMode(isRaw: boolean): void {
    this.rawModes.push(isRaw);
  }
}

function terminal() {
  const stream = new FakeTerminal();
  let shown = '';
  let interrupts = 0;
  const input = openConsoleInput(
    stream,
    (text) => {
      shown += text;
    },
    () => {
      interrupts += 1;
    },
  );
  return { stream, input, shown: () => shown, interrupts: () => interrupts };
}

const text = (bytes: Uint8Array | null) => (bytes === null ? null : Buffer.from(bytes).toString());

describe('questions', () => {
  it('on a pipe are lines, without prompts, in any pieces', async () => {
    const stream = new PassThrough();
    let shown = '';
    const input = openConsoleInput(
      stream,
      (prompt) => {
        shown += prompt;
      },
      () => {},
    );
    for (const piece of ['an', 'n\r\nse', 'cret\nno end']) stream.write(piece);
    stream.end();
    expect(await input.line('account: ')).toBe('ann');
    expect(text(await input.secret('password: '))).toBe('secret');
    expect(await input.line('level: ')).toBe('no end');
    expect(await input.line('more: ')).toBeNull();
    expect(shown).toBe('');
    input.close();
  });

  it('for a password switch the echo off and on again', async () => {
    const { stream, input, shown } = terminal();
    const password = input.secret('password: ');
    expect(stream.rawModes).toEqual([true]);
    expect(shown()).toBe('password: ');
    stream.write('secret\r');
    expect(text(await password)).toBe('secret');
    expect(stream.rawModes).toEqual([true, false]);
    expect(shown()).toBe('password: \n');
  });

  it.each([
    ['abc\x7fd\r', 'abd'],
    ['abä\x7f\x08c\r', 'ac'],
    ['\x7f\x7fa\r', 'a'],
    ['wrong\x15right\r', 'right'],
    ['a\x1b[A\x1bOBb\x1b[3~c\r', 'abc'],
    ['a\x00\x01b\r', 'ab'],
    ['two\r', 'two'],
  ])('edit %j to %j', async (typed, expected) => {
    const { stream, input } = terminal();
    stream.write(typed);
    expect(text(await input.secret(''))).toBe(expected);
  });

  it('give Ctrl-C to the process', async () => {
    const { stream, input, interrupts } = terminal();
    stream.write('a\x03');
    stream.end();
    await input.secret('');
    expect(interrupts()).toBe(1);
  });

  it('wipe what was typed', async () => {
    const { stream, input } = terminal();
    const typed = Buffer.from('secret\r');
    stream.emit('data', typed);
    expect(text(await input.secret(''))).toBe('secret');
    expect(typed).toEqual(Buffer.alloc(7));
  });

  it('have an end', async () => {
    const { stream, input } = terminal();
    stream.write('x'.repeat(1025));
    await expect(input.secret('')).rejects.toThrow('more than 1024 bytes');
    expect(stream.rawModes).toEqual([true, false]);
  });
});
