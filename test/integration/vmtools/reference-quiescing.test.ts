/**
 * Quiescing of Debian's open-vm-tools against the simulator (vmware.md section 8). The freezing is the tracer's fake, the scripts
 * are the test's own. Its state machine steps once a second, so each test has a daemon of its own and they run side by side.
 */
import { describe, it } from 'vitest';
import { encodeQuiesceOptions, type QuiesceOptions } from '../../hosts/vmx/codecs/quiesce-options.ts';
import { openVmToolsMissing, startVmxBench } from '../../support/vmx.ts';

const missing = openVmToolsMissing();
if (missing !== undefined) console.log(`skipped: ${missing}`);

const CONFIGURATION = '[guestinfo]\npoll-interval=0\nstats-interval=0\n';
const SCRIPTS = {
  'backupScripts.d/10-first': '#!/bin/sh\nexit 0\n',
  'backupScripts.d/20-second': '#!/bin/sh\nexit 0\n',
};

const withOptions = (options: QuiesceOptions) =>
  Buffer.concat([Buffer.from('vmbackup.startWithOpts '), encodeQuiesceOptions(options)]);

async function daemon(scripts: Readonly<Record<string, string>> = SCRIPTS) {
  const bench = await startVmxBench();
  const { vmx } = bench;
  // whatever file system the machine has there
  vmx.system.freezeResults.set('/', 0);
  bench.startToolsDaemon({ configuration: CONFIGURATION, scripts });
  await vmx.tclo.session();
  await vmx.command('reset');
  await vmx.command('Capabilities_Register');
  const happened = (kind: 'freeze' | 'thaw') =>
    vmx.system.events.flatMap((event) => (event.kind === kind ? [event] : []));
  return {
    vmx,
    async reply(command: string | Buffer) {
      return (await vmx.command(command)).bytes.toString();
    },
    /** Waits for an event. */
    event: (name: string) =>
      vmx.waitForRpc(new RegExp(`^vmbackup\\.eventSet ${name} `), { timeoutMs: 30_000 }),
    /** All events so far, but for those that only keep the operation alive. */
    events: () =>
      vmx.rpci.calls
        .filter(({ name, text }) => name === 'vmbackup.eventSet' && !text.includes('keepAlive'))
        .map(({ args }) => args),
    /** Calls of the backup scripts. */
    scripts: () =>
      vmx.system.events
        .flatMap((event) => (event.kind === 'executed' && event.argv[0] === '/bin/sh' ? [event.argv] : []))
        .filter(([, path]) => path?.includes('backupScripts.d/'))
        .map(([, path, ...args]) => [path?.split('/').at(-1), ...args].join(' ')),
    tried: () => happened('freeze').map(({ path }) => path),
    frozen: () => happened('freeze').flatMap(({ path, result }) => (result === 0 ? [path] : [])),
    thawed: () => happened('thaw').map(({ path }) => path),
    [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose](),
  };
}

describe.skipIf(missing !== undefined).concurrent('quiescing of vmtoolsd (section 8)', () => {
  it('freezes between the scripts and thaws as soon as the snapshot is done', async ({ expect }) => {
    await using guest = await daemon();
    expect(await guest.reply('vmbackup.start 0')).toBe('OK ');
    expect(guest.events()).toEqual(['reset 0 ']);
    expect(await guest.reply('vmbackup.start 0')).toBe('ERROR Quiesce operation already in progress.');
    await guest.event('prov.snapshotCommit');
    expect(guest.scripts()).toEqual(['10-first freeze', '20-second freeze']);
    expect(guest.frozen().at(-1)).toBe('/');
    // seen with open-vm-tools 12.2: of several mounts of one device name only the first is tried
    expect(guest.tried()).not.toContain('/etc/vmware-tools');
    expect(guest.thawed()).toEqual([]);

    expect(await guest.reply('vmbackup.snapshotDone')).toBe('OK ');
    expect(guest.thawed()).toEqual(guest.frozen().reverse());
    await guest.event('req.done');
    expect(guest.events()).toEqual(['reset 0 ', 'prov.snapshotCommit 0 ', 'req.done 0 ']);
    const thaws = ['20-second thaw', '10-first thaw'];
    expect(guest.scripts()).toEqual(['10-first freeze', '20-second freeze', ...thaws]);
  });

  it('keeps the host waiting with a sign of life', async ({ expect }) => {
    await using guest = await daemon();
    await guest.reply('vmbackup.start 0');
    await guest.event('prov.snapshotCommit');
    await guest.event('req.keepAlive');
    const calls = guest.vmx.rpci.calls.filter(({ name }) => name === 'vmbackup.eventSet');
    const at = calls.findIndex(({ args }) => args === 'req.keepAlive 0 ');
    const silenceMs = (calls[at]?.atMs ?? 0) - (calls[at - 1]?.atMs ?? 0);
    expect(silenceMs).toBeGreaterThan(2000);
  });

  it('only tells the events where neither applications nor file systems are to be quiesced', async ({
    expect,
  }) => {
    await using guest = await daemon();
    // seen with open-vm-tools 12.2: a plain start freezes even if the configuration switches both off
    const options = { quiesceApps: false, quiesceFS: false, execScripts: false };
    expect(await guest.reply(withOptions(options))).toBe('OK ');
    await guest.event('prov.snapshotCommit');
    expect(guest.tried()).toEqual([]);
    expect(await guest.reply('vmbackup.snapshotDone')).toBe('OK ');
    await guest.event('req.done');
    expect(guest.scripts()).toEqual([]);
  });

  it('hands the argument to the scripts', async ({ expect }) => {
    await using guest = await daemon();
    const options = { quiesceApps: true, quiesceFS: true, execScripts: true, scriptArg: 'two words' };
    expect(await guest.reply(withOptions(options))).toBe('OK ');
    await guest.event('prov.snapshotCommit');
    expect(guest.scripts()).toEqual(['10-first freeze two words', '20-second freeze two words']);
  });

  it.for([
    ['vmbackup.start', 0],
    // seen with open-vm-tools 12.2: without any argument no scripts are run
    ['vmbackup.start 0', 2],
  ] as const)('thaws at an abort: %s, %i scripts', async ([command, scripts], { expect }) => {
    await using guest = await daemon();
    await guest.reply(command);
    await guest.event('prov.snapshotCommit');
    expect(guest.scripts()).toHaveLength(scripts);
    expect(await guest.reply('vmbackup.abort')).toBe('OK ');
    await guest.event('req.done');
    const aborted = 'req.aborted 4 Quiesce canceled.';
    expect(guest.events()).toEqual(['reset 0 ', 'prov.snapshotCommit 0 ', aborted, 'req.done 0 ']);
    expect(guest.thawed()).toEqual(guest.frozen().reverse());
    const failures = ['20-second freezeFail', '10-first freezeFail'];
    expect(guest.scripts().slice(scripts)).toEqual(scripts === 0 ? [] : failures);
  });

  it('thaws when its own time is up', async ({ expect }) => {
    await using guest = await daemon();
    await guest.reply(withOptions({ quiesceFS: true, timeoutSeconds: 2 }));
    await guest.event('req.done');
    expect(guest.events()).toContain('req.aborted 4 Quiesce canceled.');
    expect(guest.thawed()).toEqual(guest.frozen().reverse());
  });

  it('gives up when a script fails', async ({ expect }) => {
    const failing = '#!/bin/sh\n[ "$1" != freeze ]\n';
    await using guest = await daemon({ ...SCRIPTS, 'backupScripts.d/20-second': failing });
    await guest.reply('vmbackup.start 0');
    await guest.event('req.done');
    expect(guest.events()).toEqual([
      'reset 0 ',
      'req.error 2 Custom quiesce script failed.',
      "req.error 5 'VmBackupOnFreeze' operation failed.",
      'req.done 0 ',
    ]);
    // the failing one itself is not told
    expect(guest.scripts()).toEqual(['10-first freeze', '20-second freeze', '10-first freezeFail']);
    expect(guest.tried()).toEqual([]);
  });

  it('gives up when a file system cannot be frozen', async ({ expect }) => {
    await using guest = await daemon();
    guest.vmx.system.freezeResults.set('/', -5);
    await guest.reply('vmbackup.start 0');
    await guest.event('req.done');
    const failed = 'req.error 3 Error when enabling the sync provider.';
    expect(guest.events()).toEqual(['reset 0 ', failed, 'req.done 0 ']);
  });

  it('gives up when the host refuses an event', async ({ expect }) => {
    await using guest = await daemon();
    guest.vmx.rpci.refuse({ request: /prov\.snapshotCommit/, times: 1 });
    await guest.reply('vmbackup.start 0');
    await guest.event('req.done');
    // seen with open-vm-tools 12.2: no req.aborted, unlike after an abort by the host
    expect(guest.events()).toEqual(['reset 0 ', 'prov.snapshotCommit 0 ', 'req.done 0 ']);
    expect(guest.thawed()).toEqual(guest.frozen().reverse());
  });

  it('raises its I/O privilege where the host wants it', async ({ expect }) => {
    await using guest = await daemon();
    guest.vmx.backupNeedsPrivilege = true;
    await guest.reply(withOptions({ quiesceFS: false }));
    await guest.event('prov.snapshotCommit');
    const calls = guest.vmx.rpci.calls.filter(({ name }) => name === 'vmbackup.eventSet');
    expect(calls.map(({ args, privileged }) => [args, privileged])).toEqual([
      ['reset 0 ', false],
      ['reset 0 ', true],
      ['prov.snapshotCommit 0 ', true],
    ]);
  });
});
