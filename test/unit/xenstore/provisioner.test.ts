import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFreezeGate, type FreezeGateControl } from '../../../src/guest/freeze-gate.ts';
import { native } from '../../../src/native/index.ts';
import { openProvisionJournal } from '../../../src/protocols/xenstore/provision-journal.ts';
import {
  type Provisioner,
  type ProvisionerOptions,
  startProvisioner,
} from '../../../src/protocols/xenstore/provisioner.ts';
import { type FakeJobs, fakeJobs, startError } from '../../support/fake-jobs.ts';
import { type FakeXenstore, fakeXenstore, type Layout } from '../../support/fake-xenstore.ts';
import { recordingLog } from '../../support/quiet-log.ts';

const NODE = 'vm-data/provision/script';
const FALLBACK = 'data/provision/script';
const base64 = (text: string) => Buffer.from(text).toString('base64');
const plain = (value: string | null) => (value === null ? null : Buffer.from(value, 'base64').toString());

let directory: string;
let gate: FreezeGateControl;
let store: FakeXenstore;
let scripts: FakeJobs;
let log: ReturnType<typeof recordingLog>;
let provisioner: Provisioner | null;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'provisioner-'));
  gate = createFreezeGate();
  log = recordingLog();
  scripts = fakeJobs();
  provisioner = null;
});
afterEach(async () => {
  store.fault = null;
  await provisioner?.stop();
  rmSync(directory, { recursive: true });
});

function open(layout: Layout = 'xapi', more: Parameters<typeof fakeXenstore>[0] = {}): void {
  store = fakeXenstore({ layout, ...more });
}

async function start(more: Partial<ProvisionerOptions> = {}): Promise<void> {
  provisioner = await startProvisioner({
    store: store.guest,
    scripts,
    native,
    gate,
    log,
    journal: openProvisionJournal(join(directory, 'journal'), gate, log),
    bootId: 'boot-1',
    timeLimitMs: 120_000,
    misspeltOutput: true,
    runAtEveryBoot: false,
    filesDir: directory,
    retryMs: 1,
    ...more,
  });
}

/** As after SIGKILL: the old one never tells the store anything any more. */
async function restart(more: Partial<ProvisionerOptions> = {}): Promise<void> {
  // a dead daemon has no watches, and no scripts
  store.dropWatches();
  scripts = fakeJobs();
  await start(more);
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`still not: ${what}; ${log.lines.join('; ')}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const status = () => store.text(`${NODE}/status`);
const output = () => plain(store.text(`${NODE}/output`));
const isStatus = (wanted: string, at = NODE) =>
  until(`status ${wanted}`, () => store.text(`${at}/status`) === wanted);
const provide = (text: string) => store.host.write(NODE, base64(text));
const runs = (count: number) => until(`${count} runs`, () => scripts.requests.length === count);
const lines = (part: string) => log.lines.filter((line) => line.includes(part));
/** Until the provisioner knows that the node was empty, where it cannot make it so itself. */
const seenEmpty = () =>
  until('the empty node', () => {
    const { present } = JSON.parse(readFileSync(join(directory, 'journal'), 'utf8'));
    return present === null;
  });
/** For what must not happen: long enough for whatever is under way in memory and in the journal. */
async function calm(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) {
    await store.settle();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('a script', () => {
  beforeEach(async () => {
    open();
    await start();
    await isStatus('ready');
  });

  it('is run with its time limit, and its status and output are told, the output also misspelt', async () => {
    await provide('uptime');
    await runs(1);
    expect(scripts.requests[0]).toMatchObject({
      origin: 'xenstore',
      timeLimitMs: 120_000,
      captureOutput: true,
      source: { kind: 'text', text: Buffer.from('uptime') },
    });
    expect(status()).toBe('running');
    expect(store.text(NODE)).toBe('');
    scripts.end({ kind: 'success' }, 'up 3 days\n');
    await isStatus('ready');
    expect(output()).toBe('up 3 days\n');
    expect(plain(store.text(`${NODE}/otuput`))).toBe('up 3 days\n');
    expect(store.history(`${NODE}/status`)).toEqual(['ready', 'running', 'ready']);
    expect(scripts.forgotten).toBe(1);
  });

  it.each([
    { kind: 'failed', exitCode: 3 },
    { kind: 'killed', signal: 9 },
    { kind: 'timed-out' },
    { kind: 'lost' },
  ] as const)('that ends $kind gives error, and its output', async (outcome) => {
    await provide('false');
    await runs(1);
    scripts.end(outcome, 'as far as it got');
    await isStatus('error');
    expect(output()).toBe('as far as it got');
  });

  it('without output leaves none, and takes away that of the one before', async () => {
    await provide('echo');
    await runs(1);
    scripts.end({ kind: 'success' }, 'old');
    await until('output', () => output() === 'old');
    await provide('true');
    await runs(2);
    expect(output()).toBeNull();
    scripts.end();
    await isStatus('ready');
    expect(store.text(`${NODE}/otuput`)).toBeNull();
  });

  it('that cannot be started gives error and says why', async () => {
    scripts.refusal = startError('Resource temporarily unavailable');
    await provide('true');
    await isStatus('error');
    expect(output()).toBe('chr-agent: the script cannot be started: Resource temporarily unavailable\n');
  });

  it('written again runs again, from error as well', async () => {
    for (const count of [1, 2, 3]) {
      await provide('same');
      await runs(count);
      scripts.end(count === 1 ? { kind: 'timed-out' } : { kind: 'success' });
      await isStatus(count === 1 ? 'error' : 'ready');
    }
  });

  it('is not run by watches that fire, nor by a change of permissions', async () => {
    await provide('once');
    await runs(1);
    store.fireAll();
    await calm();
    scripts.end();
    await isStatus('ready');
    store.fireAll();
    await store.host.setPermissions(NODE, ['n5', 'r7']);
    await store.host.setPermissions('vm-data', ['n5', 'r7']);
    await calm();
    expect(scripts.texts).toEqual(['once']);
  });

  it('is not accepted while another one runs: one log line, and the node is empty at the end', async () => {
    await provide('first');
    await runs(1);
    await provide('second');
    await calm();
    await provide('third');
    await calm();
    scripts.end();
    await isStatus('ready');
    expect(store.text(NODE)).toBe('');
    expect(lines('was not accepted')).toHaveLength(1);
    await calm();
    expect(scripts.texts).toEqual(['first']);
    await provide('third');
    await runs(2);
    scripts.end();
  });

  it('may come in pieces, which are taken away with it', async () => {
    const text = base64('echo a very long script');
    await store.host.write(`${NODE}/0`, text.slice(0, 10));
    await store.host.write(`${NODE}/1`, text.slice(10));
    await calm();
    expect(scripts.requests).toHaveLength(0);
    await store.host.write(NODE, 'pieces=2');
    await runs(1);
    expect(scripts.texts).toEqual(['echo a very long script']);
    expect(store.text(`${NODE}/0`)).toBeNull();
    scripts.end();
    await isStatus('ready');
  });

  it('with line ends between and after its letters is base64 all the same', async () => {
    await store.host.write(NODE, `${base64('a script of lines').replace(/(.{8})/g, '$1\n')}\r\n\0`);
    await runs(1);
    expect(scripts.texts).toEqual(['a script of lines']);
    scripts.end();
  });

  it.each([
    ['no base64!', 'the script is not valid base64'],
    ['QUI', 'the script is not valid base64'],
    ['QUI=QUI=', 'the script is not valid base64'],
    ['====', 'the script is not valid base64'],
    ['\n', 'the script is empty'],
    ['pieces=0', 'the script is empty'],
    [
      'pieces=2',
      'piece 0 of the script (vm-data/provision/script/0) is missing; the script node itself is to be written last',
    ],
    ['pieces=257', 'the script comes in 257 pieces, of which there may be 256'],
    ['x'.repeat(4000).concat('*'), 'the script is not valid base64'],
  ])('%j gives error and says why', async (value, problem) => {
    await store.host.write(NODE, value);
    await isStatus('error');
    expect(output()).toBe(`chr-agent: ${problem}\n`);
    expect(store.text(NODE)).toBe('');
    await provide('good');
    await runs(1);
    scripts.end();
    await isStatus('ready');
  });

  it('that the host removes has a status again', async () => {
    await store.host.remove('vm-data');
    await store.host.write('vm-data', '');
    await store.host.setPermissions('vm-data', ['n5']);
    store.fireAll();
    await isStatus('ready');
  });
});

describe('a long output', () => {
  const long = `${'a line of output\n'.repeat(200)}the end\n`;

  it('is cut, with what follows at its end, and saved whole', async () => {
    open();
    await start();
    await provide('long');
    await runs(1);
    scripts.end({ kind: 'success' }, long);
    await isStatus('ready');
    const value = store.text(`${NODE}/output`) ?? '';
    expect(value.length).toBeLessThanOrEqual(2015);
    const file = join(directory, 'provision-output.txt');
    expect(plain(value)).toMatch(/^a line of output\na line/);
    expect(plain(value)?.endsWith(`\n[cut: ${long.length} bytes, all in ${file}]\n`)).toBe(true);
    expect(readFileSync(file, 'utf8')).toBe(long);
  });

  it('is just not cut at 1509 bytes', async () => {
    open();
    await start();
    await provide('long');
    await runs(1);
    scripts.end({ kind: 'success' }, long.slice(0, 1509));
    await isStatus('ready');
    expect(output()).toBe(long.slice(0, 1509));
  });

  it.each([
    [600, 500],
    [100, 0],
  ])('is shorter where a value has at most %i bytes', async (maxValueBytes, expected) => {
    open('xapi', { maxValueBytes });
    await start();
    await provide('long');
    await runs(1);
    scripts.end({ kind: 'success' }, long.slice(0, 1000));
    await isStatus('ready');
    expect((store.text(`${NODE}/output`) ?? '').length).toBe(expected);
    expect(lines('no room')).toHaveLength(expected === 0 ? 1 : 0);
  });
});

describe('a script that is there at boot', () => {
  beforeEach(async () => {
    open();
    await provide('at boot');
    await start();
    await runs(1);
  });

  it('runs once: not again after a restart of the daemon, or after a resume', async () => {
    scripts.end();
    await isStatus('ready');
    await restart();
    await isStatus('ready');
    store.resume(9, [], 'uuid-2');
    await isStatus('ready');
    await calm();
    expect(scripts.requests).toHaveLength(0);
    await provide('at boot');
    await runs(1);
    scripts.end();
  });

  it('has the status error after the daemon was killed in the middle, and does not run again', async () => {
    await restart();
    await isStatus('error');
    await calm();
    expect(scripts.requests).toHaveLength(0);
    expect(lines('was running when the agent ended')).toHaveLength(1);
    await provide('at boot');
    await runs(1);
    scripts.end();
  });

  it('does not run when a migration puts it back, though the store says it stands there', async () => {
    scripts.end();
    await isStatus('ready');
    await store.host.write(NODE, '');
    await calm();
    // what XAPI had copied is older than the taking of the script
    const carried = fakeXenstore({ domainId: 9 });
    await carried.host.write(NODE, base64('at boot'));
    await carried.host.write(`${NODE}/status`, 'running');
    store.replace(carried, 9);
    await isStatus('ready');
    expect(store.text(NODE)).toBe('');
    await calm();
    expect(scripts.texts).toEqual(['at boot']);
    await provide('at boot');
    await runs(2);
    scripts.end();
  });

  it.each([
    [false, 0],
    [true, 1],
  ])('at the next boot: run-at-every-boot = %s, %i runs', async (runAtEveryBoot, expected) => {
    scripts.end();
    await isStatus('ready');
    await provide('of another kind');
    await runs(2);
    scripts.end();
    await isStatus('ready');
    await provisioner?.stop();
    store.resume(9);
    await provide('at boot');
    await restart({ bootId: 'boot-2', runAtEveryBoot });
    if (expected > 0) {
      await runs(1);
      scripts.end();
    }
    await isStatus('ready');
    await calm();
    expect(scripts.requests).toHaveLength(expected);
    expect(store.text(NODE)).toBe('');
    await provide('at boot');
    await runs(expected + 1);
    scripts.end();
  });

  it('runs in a copy of the machine', async () => {
    scripts.end();
    await isStatus('ready');
    store.dropWatches();
    open('xapi', { domainId: 9, vmUuid: 'another' });
    await provide('at boot');
    await restart({ bootId: 'boot-2' });
    await runs(1);
    scripts.end();
  });

  it('goes on over a resume: running again there, and the end is told there', async () => {
    store.resume(9, [], 'uuid-2');
    await isStatus('running');
    scripts.end({ kind: 'success' }, 'late');
    await isStatus('ready');
    expect(output()).toBe('late');
    expect(scripts.requests).toHaveLength(1);
  });
});

describe('where the guest may not write (xl)', () => {
  beforeEach(async () => {
    open('xl');
    await start();
    await isStatus('ready', FALLBACK);
  });

  it('tells status and output elsewhere, and the host what to do, once', async () => {
    expect(status()).toBeNull();
    await provide('xl');
    await runs(1);
    expect(store.text(`${FALLBACK}/status`)).toBe('running');
    scripts.end({ kind: 'failed', exitCode: 1 }, 'oops');
    await isStatus('error', FALLBACK);
    expect(plain(store.text(`${FALLBACK}/output`))).toBe('oops');
    expect(plain(store.text(`${FALLBACK}/otuput`))).toBe('oops');
    expect(lines('xenstore-chmod')).toEqual([
      expect.stringContaining('xenstore-chmod -r /local/domain/5/vm-data/provision/script n5'),
    ]);
  });

  it('runs an equal value only after the node was seen empty or missing', async () => {
    await provide('xl');
    await runs(1);
    scripts.end();
    await isStatus('ready', FALLBACK);
    await provide('xl');
    store.fireAll();
    await calm();
    expect(scripts.requests).toHaveLength(1);
    expect(lines('was not accepted')).toEqual([]);

    await store.host.write(NODE, '');
    await seenEmpty();
    await provide('xl');
    await runs(2);
    scripts.end();
    await isStatus('ready', FALLBACK);

    await store.host.remove(NODE);
    await seenEmpty();
    await provide('xl');
    await runs(3);
    scripts.end();
    await isStatus('ready', FALLBACK);
    await provide('another');
    await runs(4);
    scripts.end();
  });

  it('does not run it again after a restart, a kill, or a resume that carries it', async () => {
    await provide('xl');
    await runs(1);
    scripts.end();
    await isStatus('ready', FALLBACK);
    await restart();
    await isStatus('ready', FALLBACK);
    store.resume(9, ['vm-data']);
    await isStatus('ready', FALLBACK);
    await calm();
    expect(scripts.requests).toHaveLength(0);

    await provide('killed');
    await runs(1);
    await restart();
    await isStatus('error', FALLBACK);
    await calm();
    expect(scripts.requests).toHaveLength(0);
  });

  it('uses both places once the host lets it, and the chmod runs nothing', async () => {
    await provide('xl');
    await runs(1);
    scripts.end();
    await isStatus('ready', FALLBACK);
    await store.host.setPermissions(NODE, ['n5']);
    await isStatus('ready');
    await until('an empty node', () => store.text(NODE) === '');
    await calm();
    expect(scripts.requests).toHaveLength(1);
    await provide('xl');
    await runs(2);
    await isStatus('running');
    expect(store.text(`${FALLBACK}/status`)).toBe('running');
    scripts.end({ kind: 'success' }, 'both');
    await isStatus('ready');
    expect(output()).toBe('both');
    expect(plain(store.text(`${FALLBACK}/output`))).toBe('both');
  });

  it('never runs a mixture of two scripts in pieces', async () => {
    const write = async (script: string) => {
      const text = base64(script);
      await store.host.write(`${NODE}/0`, text.slice(0, 8));
      await calm();
      await store.host.write(`${NODE}/1`, text.slice(8));
      await calm();
      await store.host.write(NODE, 'pieces=2');
      await calm();
    };
    await write('echo the first one');
    await runs(1);
    scripts.end();
    await isStatus('ready', FALLBACK);
    await write('echo the second one');
    expect(scripts.requests).toHaveLength(1);
    await store.host.write(NODE, '');
    await seenEmpty();
    await write('echo the second one');
    await runs(2);
    expect(scripts.texts).toEqual(['echo the first one', 'echo the second one']);
    scripts.end();
  });

  it('notices a script that comes meanwhile, and does not run it later', async () => {
    await provide('first');
    await runs(1);
    await provide('second');
    await calm();
    scripts.end();
    await isStatus('ready', FALLBACK);
    await calm();
    expect(scripts.texts).toEqual(['first']);
    expect(lines('was not accepted')).toHaveLength(1);
  });
});

describe('bad times', () => {
  it('takes no script while frozen, and writes no journal; both after the thaw', async () => {
    open();
    await start();
    await isStatus('ready');
    await gate.shut();
    await provide('later');
    await calm();
    expect(scripts.requests).toHaveLength(0);
    expect(store.text(NODE)).toBe(base64('later'));
    expect(() => readFileSync(join(directory, 'journal'))).toThrow('ENOENT');
    gate.open();
    await runs(1);
    scripts.end();
    await isStatus('ready');
  });

  it('tries again after an error of the store, with one log line', async () => {
    open();
    let failures = 3;
    const fails = () => {
      failures -= 1;
      return failures >= 0;
    };
    store.fault = (request) => (request === 'read' && fails() ? 'EIO' : null);
    await start();
    await isStatus('ready');
    expect(lines('EIO').length).toBeGreaterThanOrEqual(1);
    failures = 3;
    await provide('despite');
    await runs(1);
    store.fault = (request) => (request === 'write' ? 'EIO' : null);
    scripts.end({ kind: 'success' }, 'kept');
    await calm();
    expect(status()).toBe('running');
    store.fault = null;
    await isStatus('ready');
    expect(output()).toBe('kept');
  });

  it('waits for the next connection when this one is lost', async () => {
    open();
    await start();
    await isStatus('ready');
    await provide('lost');
    await runs(1);
    store.fault = () => 'GONE';
    scripts.end({ kind: 'success' }, 'found');
    await calm();
    expect(status()).toBe('running');
    store.fault = null;
    store.fireAll();
    await isStatus('ready');
    expect(output()).toBe('found');
  });

  it('says once that the node cannot be read', async () => {
    open();
    await store.host.write('vm-data/provision', '');
    await store.host.write(NODE, base64('secret'));
    await store.host.setPermissions(NODE, ['n0']);
    await start();
    store.fireAll();
    await calm();
    store.fireAll();
    await calm();
    expect(scripts.requests).toHaveLength(0);
    expect(lines('does not let this guest read')).toHaveLength(1);
  });

  it('runs without a journal when that is damaged, and says so', async () => {
    open();
    const { writeFileSync } = await import('node:fs');
    writeFileSync(join(directory, 'journal'), '{"version":1,"occasion":');
    await provide('any');
    await start();
    await runs(1);
    scripts.end();
    await isStatus('ready');
    expect(lines('is damaged')).toHaveLength(1);
  });

  it('waits at its end for the script, and tells its end', async () => {
    open();
    await start();
    await provide('slow');
    await runs(1);
    const stopped = provisioner?.stop();
    scripts.end({ kind: 'killed', signal: 15 }, 'ended');
    await stopped;
    expect(status()).toBe('error');
    expect(output()).toBe('ended');
    await provide('after the end');
    await calm();
    expect(scripts.requests).toHaveLength(1);
  });

  it('does not write the misspelt name if it is told not to', async () => {
    open();
    await start({ misspeltOutput: false });
    await provide('x');
    await runs(1);
    scripts.end({ kind: 'success' }, 'y');
    await isStatus('ready');
    expect(store.text(`${NODE}/otuput`)).toBeNull();
  });
});
