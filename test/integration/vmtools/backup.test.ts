// Quiesced snapshots in the `chr` profile: spec vmware.md section 8, chr-wiki.txt (quiescing). Real file systems, real hooks.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encodeQuiesceOptions, type QuiesceOptions } from '../../hosts/vmx/codecs/quiesce-options.ts';
import { startTestTools, type TestTools, type TestToolsOptions } from '../../support/vmtools-service.ts';
import { canMount, LoopMounts, until, Writer } from '../quiesce/loop-mounts.ts';

const EVENT = 'vmbackup.eventSet ';
const IN_PROGRESS = 'ERROR Quiesce operation already in progress.';
const NO_OPERATION = 'ERROR Error: no quiesce operation in progress';
const UNEXPECTED = 'ERROR Error: unexpected state for quiesce done message.';

describe.skipIf(!canMount)('quiesced snapshots', () => {
  let mounts: LoopMounts;
  let disk: string;

  beforeAll(() => {
    mounts = new LoopMounts();
    disk = mounts.add('disk', 'ext4', mounts.directory, 64);
  });
  beforeEach(() => mounts.armWatchdogs());
  afterEach(() => expect(mounts.thawAll()).toBe(false));
  afterAll(() => mounts.remove());

  async function start(more: TestToolsOptions = {}) {
    const tools = await startTestTools({ readMounts: mounts.readMounts, ...more });
    for (const name of ['freeze', 'freeze-fail', 'thaw'] as const) tools.setHook(name, 'true');
    return tools;
  }

  const withOptions = async (tools: TestTools, options: QuiesceOptions) => {
    const command = Buffer.concat([Buffer.from('vmbackup.startWithOpts '), encodeQuiesceOptions(options)]);
    return (await tools.vmx.command(command)).bytes.toString();
  };
  const event = (tools: TestTools, name: string) =>
    tools.vmx.waitForRpc(new RegExp(`^${EVENT}${name.replace('.', '\\.')} `), { timeoutMs: 30_000 });
  /** All events, but for the signs of life. */
  const events = (tools: TestTools) =>
    tools
      .texts()
      .flatMap((text) => (text.startsWith(EVENT) ? [text.slice(EVENT.length)] : []))
      .filter((text) => !text.startsWith('req.keepAlive'));

  it('freezes between the hooks, and thaws before it answers', async () => {
    await using tools = await start();
    expect(await tools.ask('vmbackup.start')).toBe('OK ');
    expect(events(tools).at(0)).toBe('reset 0 ');
    await event(tools, 'prov.snapshotCommit');
    expect(tools.hookRuns()).toEqual(['freeze']);
    expect(tools.quiescer.status).toMatchObject({ state: 'frozen', owner: 'vmtools', mountPoints: [disk] });
    const writer = new Writer(disk);
    expect(await writer.isHeldUp()).toBe(true);
    expect(await tools.ask('vmbackup.start 0')).toBe(IN_PROGRESS);
    expect(await withOptions(tools, { quiesceFS: true })).toBe(IN_PROGRESS);
    expect(await tools.ask('ping')).toBe('OK ');

    expect(await tools.ask('vmbackup.snapshotDone')).toBe('OK ');
    expect(tools.gate.frozen).toBe(false);
    await writer.done;
    await event(tools, 'req.done');
    expect(tools.hookRuns()).toEqual(['freeze', 'thaw']);
    expect(events(tools)).toEqual(['reset 0 ', 'prov.snapshotCommit 0 ', 'req.done 0 ']);
    expect(tools.vmx.rpci.calls.filter(({ name }) => name === 'vmbackup.eventSet')).toSatisfy(
      (calls: { endsWithNul: boolean }[]) => calls.every(({ endsWithNul }) => endsWithNul),
    );
    expect(await tools.ask('vmbackup.snapshotDone')).toBe(NO_OPERATION);
    expect(await tools.ask('vmbackup.abort')).toBe(NO_OPERATION);
    expect(await tools.ask('vmbackup.snapshotCompleted')).toBe(
      'ERROR Error: no quiesce complete in progress',
    );
  });

  it('can be done again and again', async () => {
    await using tools = await start();
    for (let round = 0; round < 3; round += 1) {
      const from = tools.vmx.mark();
      expect(await tools.ask('vmbackup.start 0')).toBe('OK ');
      await tools.vmx.waitForRpc(/prov\.snapshotCommit/, { from });
      expect(await tools.ask('vmbackup.snapshotDone')).toBe('OK ');
      await tools.vmx.waitForRpc(/req\.done/, { from });
    }
    expect(tools.hookRuns()).toHaveLength(6);
  });

  it('answers everything while its own files are frozen', async () => {
    await using tools = await start({ place: disk });
    await tools.ask('vmbackup.start 0');
    await event(tools, 'prov.snapshotCommit');
    expect(await tools.ask('ping')).toBe('OK ');
    expect(await tools.ask('reset')).toBe('OK ATR toolbox');
    expect(await tools.ask('Capabilities_Register')).toBe('OK ');
    expect(await tools.ask('Set_Option toolScripts.beforeSuspend 1')).toBe('OK ');
    expect(await tools.ask('OS_Suspend')).toBe('ERROR Error starting script');
    await event(tools, 'req.keepAlive');
    expect(tools.gate.frozen).toBe(true);
    expect(await tools.ask('vmbackup.snapshotDone')).toBe('OK ');
    await event(tools, 'req.done');
    expect(events(tools)).toEqual(['reset 0 ', 'prov.snapshotCommit 0 ', 'req.done 0 ']);
  });

  it('tells of a manifest after a real freeze if the host wants one', async () => {
    await using tools = await start();
    await tools.ask('vmbackup.start 1');
    await event(tools, 'prov.snapshotCommit');
    const path = join(tools.directory, 'quiesce_manifest.xml');
    expect(existsSync(path)).toBe(false);
    await tools.ask('vmbackup.snapshotDone');
    await event(tools, 'req.done');
    expect(events(tools).slice(2)).toEqual([`req.genericManifest 0 ${path}`, 'req.done 0 ']);
    expect(readFileSync(path, 'utf8')).toBe(
      '<quiesceManifest>\n   <productVersion>12352</productVersion>\n   <providerName>fifreeze</providerName>\n</quiesceManifest>\n',
    );
  });

  it('freezes only the mount points that the host names', async () => {
    await using tools = await start();
    await tools.ask(`vmbackup.start 0 ${tools.directory}`);
    await event(tools, 'prov.snapshotCommit');
    expect(tools.quiescer.status.state).toBe('thawed');
    await tools.ask('vmbackup.snapshotDone');
    await event(tools, 'req.done');
    expect(tools.hookRuns()).toEqual(['freeze', 'thaw']);
  });

  it('leaves FAT alone', async () => {
    const readMounts = () => mounts.readMounts().map((mount) => ({ ...mount, type: 'vfat' }));
    await using tools = await start({ readMounts });
    await tools.ask('vmbackup.start 1');
    await event(tools, 'prov.snapshotCommit');
    expect(tools.quiescer.status.state).toBe('thawed');
    await tools.ask('vmbackup.snapshotDone');
    await event(tools, 'req.done');
    expect(events(tools)).toEqual(['reset 0 ', 'prov.snapshotCommit 0 ', 'req.done 0 ']);
  });

  it.for([
    [{}, []],
    [{ execScripts: true, createManifest: true }, ['freeze', 'thaw']],
  ] as const)('freezes nothing that the host does not want frozen: %j', async ([options, hooks]) => {
    await using tools = await start();
    expect(await withOptions(tools, options)).toBe('OK ');
    await event(tools, 'prov.snapshotCommit');
    expect(tools.quiescer.status.state).toBe('thawed');
    expect(await tools.ask('vmbackup.snapshotDone')).toBe('OK ');
    await event(tools, 'req.done');
    expect(events(tools)).toEqual(['reset 0 ', 'prov.snapshotCommit 0 ', 'req.done 0 ']);
    expect(tools.hookRuns()).toEqual(hooks);
  });

  describe('fails', () => {
    it('when the freeze hook does', async () => {
      await using tools = await start();
      tools.setHook('freeze', 'echo trouble; exit 3');
      expect(await tools.ask('vmbackup.start 0')).toBe('OK ');
      await event(tools, 'req.done');
      expect(events(tools)).toEqual([
        'reset 0 ',
        'req.error 2 Custom quiesce script failed.',
        "req.error 5 'VmBackupOnFreeze' operation failed.",
        'req.done 0 ',
      ]);
      expect(tools.hookRuns()).toEqual(['freeze', 'freeze-fail']);
      expect(readFileSync(join(tools.filesDir, 'freeze-script.log'), 'utf8')).toBe('trouble\n');
      expect(await tools.ask('vmbackup.snapshotDone')).toBe(NO_OPERATION);
    });

    it('at an abort by the host, once it is thawed', async () => {
      await using tools = await start();
      await tools.ask('vmbackup.start 0');
      await event(tools, 'prov.snapshotCommit');
      expect(await tools.ask('vmbackup.abort')).toBe('OK ');
      expect(tools.gate.frozen).toBe(false);
      await event(tools, 'req.done');
      expect(events(tools)).toEqual([
        'reset 0 ',
        'prov.snapshotCommit 0 ',
        'req.aborted 4 Quiesce canceled.',
        'req.done 0 ',
      ]);
      expect(tools.hookRuns()).toEqual(['freeze', 'freeze-fail']);
    });

    it('at an abort while the freeze hook runs, and ends the hook', async () => {
      await using tools = await start();
      tools.setHook('freeze', 'sleep 50');
      await tools.ask('vmbackup.start 0');
      await until('the hook runs', () => tools.hookRuns().length === 1);
      expect(await tools.ask('vmbackup.snapshotDone')).toBe(UNEXPECTED);
      expect(await tools.ask('vmbackup.abort')).toBe('OK ');
      await event(tools, 'req.done');
      expect(events(tools)).toEqual(['reset 0 ', 'req.aborted 4 Quiesce canceled.', 'req.done 0 ']);
      expect(tools.hookRuns()).toEqual(['freeze', 'freeze-fail']);
    });

    it('when its time is up', async () => {
      await using tools = await start();
      await withOptions(tools, { quiesceFS: true, timeoutSeconds: 1 });
      await event(tools, 'req.done');
      expect(events(tools)).toContain('req.aborted 4 Quiesce canceled.');
      expect(tools.hookRuns()).toEqual([]);
    });

    it('when the guard has thawed, so that no backup from then looks good', async () => {
      await using tools = await start({ freezeLimitMs: 300 });
      await tools.ask('vmbackup.start 0');
      await event(tools, 'req.aborted');
      expect([UNEXPECTED, NO_OPERATION]).toContain(await tools.ask('vmbackup.snapshotDone'));
      await event(tools, 'req.done');
      expect(events(tools)).toEqual([
        'reset 0 ',
        'prov.snapshotCommit 0 ',
        'req.aborted 4 Quiesce canceled.',
        'req.done 0 ',
      ]);
      await until('thawed', () => tools.quiescer.status.state === 'thawed');
      expect(tools.hookRuns()).toEqual(['freeze', 'freeze-fail']);
      // nothing is left of it
      expect(tools.quiescer.status.notice).toBe(null);
    });

    it('when the host does not take an event', async () => {
      await using tools = await start();
      tools.vmx.rpci.refuse({ request: /prov\.snapshotCommit/, times: 1 });
      await tools.ask('vmbackup.start 0');
      await event(tools, 'req.done');
      expect(events(tools)).toEqual(['reset 0 ', 'prov.snapshotCommit 0 ', 'req.done 0 ']);
      expect(tools.hookRuns()).toEqual(['freeze', 'freeze-fail']);
    });

    it('at once when the host does not take the first one', async () => {
      await using tools = await start();
      tools.vmx.rpci.refuse({ request: 'vmbackup.eventSet' });
      expect(await tools.ask('vmbackup.start 0')).toBe('ERROR Error initializing quiesce operation.');
      expect(await tools.ask('vmbackup.abort')).toBe(NO_OPERATION);
      expect(tools.hookRuns()).toEqual([]);
    });

    it('when the tools are stopped, and leaves nothing frozen', async () => {
      await using tools = await start();
      await tools.ask('vmbackup.start 0');
      await event(tools, 'prov.snapshotCommit');
      await tools.stop();
      expect(tools.gate.frozen).toBe(false);
      expect(events(tools).slice(2)).toEqual(['req.aborted 4 Quiesce canceled.', 'req.done 0 ']);
    });

    it('when the daemon stops its quiescer', async () => {
      await using tools = await start();
      await tools.ask('vmbackup.start 0');
      await event(tools, 'prov.snapshotCommit');
      await tools.quiescer.stop();
      await event(tools, 'req.done');
      expect(events(tools).slice(2)).toEqual(['req.aborted 4 Quiesce canceled.', 'req.done 0 ']);
      expect(tools.hookRuns()).toEqual(['freeze', 'freeze-fail']);
    });
  });

  it('does not fail the snapshot for a thaw hook', async () => {
    await using tools = await start();
    tools.setHook('thaw', 'exit 1');
    await tools.ask('vmbackup.start 0');
    await event(tools, 'prov.snapshotCommit');
    expect(await tools.ask('vmbackup.snapshotDone')).toBe('OK ');
    await event(tools, 'req.done');
    expect(events(tools)).toEqual(['reset 0 ', 'prov.snapshotCommit 0 ', 'req.done 0 ']);
  });

  it('and those of another hypervisor’s protocol keep out of each other’s way', async () => {
    await using tools = await start();
    await tools.quiescer.freeze('qemu-ga');
    expect(await tools.ask('vmbackup.start 0')).toBe(IN_PROGRESS);
    expect(events(tools)).toEqual([]);
    await tools.quiescer.thaw('qemu-ga');
    expect(await tools.ask('vmbackup.start 0')).toBe('OK ');
    await event(tools, 'prov.snapshotCommit');
    await expect(tools.quiescer.thaw('qemu-ga')).rejects.toThrow('vmtools has frozen the file systems');
    expect(await tools.ask('vmbackup.abort')).toBe('OK ');
    await event(tools, 'req.done');
  });

  it('raise the privilege of their events where the host wants it', async () => {
    await using tools = await start();
    tools.vmx.backupNeedsPrivilege = true;
    await withOptions(tools, {});
    await event(tools, 'prov.snapshotCommit');
    await tools.ask('vmbackup.snapshotDone');
    await event(tools, 'req.done');
    const calls = tools.vmx.rpci.calls.filter(({ name }) => name === 'vmbackup.eventSet');
    expect(calls.map(({ args, privileged }) => [args, privileged])).toEqual([
      ['reset 0 ', false],
      ['reset 0 ', true],
      ['prov.snapshotCommit 0 ', true],
      ['req.done 0 ', true],
    ]);
  });
});
