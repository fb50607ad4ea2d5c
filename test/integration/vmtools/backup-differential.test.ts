/**
 * The same backups against vmtoolsd (open-vm-tools 12.2) and against the agent in the `upstream` profile: replies, events, scripts and
 * what is frozen. The freezing is the tracer's fake, of a file system in a loop device. What differs is in docs/compatibility.md.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeQuiesceOptions, type QuiesceOptions } from '../../hosts/vmx/codecs/quiesce-options.ts';
import { startTracedAgent } from '../../support/traced-agent.ts';
import { openVmToolsMissing, startVmxBench, type VmxBench } from '../../support/vmx.ts';
import { canMount, LoopMounts } from '../quiesce/loop-mounts.ts';

const missing = openVmToolsMissing() ?? (canMount ? undefined : 'no loop devices here');
if (missing !== undefined) console.log(`skipped: ${missing}`);

const LIMIT = { timeoutMs: 40_000 };
const GOOD = '#!/bin/sh\nexit 0\n';
const SCRIPTS = {
  'backupScripts.d/10-first': GOOD,
  'backupScripts.d/20-second': GOOD,
  'backupScripts.d/30-directory/file': GOOD,
};
const failingAt = (word: string) => ({
  ...SCRIPTS,
  'backupScripts.d/20-second': `#!/bin/sh\n[ "$1" != ${word} ]\n`,
});

interface Scenario {
  readonly scripts?: Readonly<Record<string, string>>;
  readonly freezeResult?: number;
  /** Of an RPC, once. */
  readonly refuses?: RegExp;
  /** A command, or an event to wait for. */
  readonly steps: readonly (string | Buffer | RegExp)[];
}

const COMMIT = /prov\.snapshotCommit/;
const DONE = /req\.done/;
const withOptions = (options: QuiesceOptions) =>
  Buffer.concat([Buffer.from('vmbackup.startWithOpts '), encodeQuiesceOptions(options)]);

const scenarios = (disk: string): Readonly<Record<string, Scenario>> => ({
  'good course': {
    steps: [
      ...['vmbackup.abort', 'vmbackup.snapshotDone', 'vmbackup.snapshotCompleted'],
      `vmbackup.start 1 ${disk}`,
      'vmbackup.start 0',
      COMMIT,
      ...['vmbackup.start 0', 'ping', 'vmbackup.snapshotDone'],
      DONE,
    ],
  },
  abort: { steps: [`vmbackup.start 0 ${disk}`, COMMIT, 'vmbackup.abort', DONE] },
  'freeze script fails': { scripts: failingAt('freeze'), steps: [`vmbackup.start 0 ${disk}`, DONE] },
  'thaw script fails': {
    scripts: failingAt('thaw'),
    steps: [`vmbackup.start 0 ${disk}`, COMMIT, 'vmbackup.snapshotDone', DONE],
  },
  'file system cannot be frozen': { freezeResult: -5, steps: [`vmbackup.start 0 ${disk}`, DONE] },
  'an event is refused': { refuses: COMMIT, steps: [`vmbackup.start 0 ${disk}`, DONE] },
  'nothing is to be frozen': {
    steps: [
      withOptions({ execScripts: true, scriptArg: 'two words' }),
      COMMIT,
      'vmbackup.snapshotDone',
      DONE,
    ],
  },
  'damaged options': {
    steps: [
      withOptions({ version: 3 }),
      withOptions({ scriptArg: 'x'.repeat(257) }),
      withOptions({}).subarray(0, 40),
    ],
  },
  'time limit': { steps: [withOptions({ timeoutSeconds: 3, execScripts: true }), COMMIT, DONE] },
});

/** What happens, in its order, but for the signs of life. */
async function play(bench: VmxBench, disk: string, scenario: Scenario, start: () => void): Promise<string[]> {
  const { vmx } = bench;
  vmx.system.freezeResults.set(disk, scenario.freezeResult ?? 0);
  start();
  await vmx.tclo.session(1, LIMIT.timeoutMs);
  await vmx.command('reset', LIMIT);
  await vmx.command('Capabilities_Register', LIMIT);
  if (scenario.refuses !== undefined) vmx.rpci.refuse({ request: scenario.refuses, times: 1 });
  const from = vmx.mark();
  const replies: string[] = [];
  for (const step of scenario.steps) {
    if (step instanceof RegExp) await vmx.waitForRpc(step, { from, ...LIMIT });
    else replies.push((await vmx.command(step, LIMIT)).bytes.toString());
  }
  const events = vmx.rpci.calls.slice(from).filter(({ name }) => name === 'vmbackup.eventSet');
  return [
    ...replies,
    ...events.map(({ args }) => args).filter((args) => !args.startsWith('req.keepAlive')),
    ...vmx.system.events.flatMap((event) => {
      if (event.kind === 'freeze' || event.kind === 'thaw')
        return event.path === disk && event.result === 0 ? [event.kind] : [];
      if (event.kind !== 'executed' || event.argv[0] !== '/bin/sh') return [];
      const [, path = '', ...args] = event.argv;
      return path.includes('backupScripts.d/') ? [[path, ...args].join(' ')] : [];
    }),
  ];
}

describe.skipIf(missing !== undefined)('backups beside vmtoolsd', { timeout: 150_000 }, () => {
  let mounts: LoopMounts;
  let disk: string;

  beforeAll(() => {
    mounts = new LoopMounts();
    disk = mounts.add('disk');
  });
  afterAll(() => mounts.remove());

  it.for(Object.keys(scenarios('')))('%s', async (name) => {
    const scenario = scenarios(disk)[name];
    if (scenario === undefined) throw new Error(`no scenario ${name}`);
    const guest = {
      configuration: '[guestinfo]\npoll-interval=0\nstats-interval=0\n',
      scripts: scenario.scripts ?? SCRIPTS,
    };
    const run = async (start: (bench: VmxBench) => void): Promise<string[]> => {
      await using bench = await startVmxBench();
      return await play(bench, disk, scenario, () => start(bench));
    };
    const [reference, own] = await Promise.all([
      run((bench) => bench.startToolsDaemon(guest)),
      run((bench) => startTracedAgent(bench, guest, 'compat = "upstream"')),
    ]);
    expect(own).toEqual(reference);
  });
});
