/**
 * `chr-agent rpctool` and Debian's vmware-rpctool side by side on the simulated host, by the real instructions under the
 * tracer; and outside VMware.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { done } from '../../hosts/vmx/rpci.ts';
import { startVmxBench, tracingMissing, type VmxBench } from '../../support/vmx.ts';

const AGENT = new URL('../../../src/agent/main.ts', import.meta.url).pathname;
const OURS = [process.execPath, '--no-warnings', AGENT, 'rpctool'];
const THEIRS = ['/usr/bin/vmware-rpctool'];
/** The code that asks CPUID, so that the simulated host answers it. */
const REWRITE = ['chr-agent.node', 'libvmtools', 'vmware-rpctool'];

const missing = tracingMissing();
const withoutReference = missing ?? (existsSync(THEIRS[0] ?? '') ? undefined : 'no open-vm-tools here');

interface Outcome {
  status: number;
  stdout: string;
  stderr: string;
}

let bench: VmxBench;
async function ask(tool: readonly string[], ...args: string[]): Promise<Outcome> {
  // each stream with a mark before its lines
  const script = '{ "$@" 2>&3 | sed "s/^/out:/"; } 3>&1 | sed "/^out:/b; s/^/err:/"';
  const status = '"$@"; echo "status:$?"';
  const program = bench.trace(['sh', '-c', script, 'sh', 'sh', '-c', status, 'sh', ...tool, ...args], {
    rewrite: REWRITE,
  });
  await program.ended;
  const lines = program.output().split('\n');
  const of = (mark: string) =>
    lines.filter((line) => line.startsWith(mark)).map((line) => `${line.slice(mark.length)}\n`);
  const out = of('out:');
  const last = out.findIndex((line) => line.startsWith('status:'));
  return {
    status: Number((out[last] ?? '').slice('status:'.length)),
    stdout: out.slice(0, last).join(''),
    stderr: of('err:').join(''),
  };
}

describe.skipIf(missing !== undefined)('in a VMware machine', () => {
  beforeAll(async () => {
    bench = await startVmxBench();
    const values = new Map<string, string>([
      ['guestinfo.text', 'a value'],
      ['guestinfo.empty', ''],
      ['guestinfo.lines', 'one\ntwo'],
      ['guestinfo.nul', 'before\0after'],
      ['guestinfo.utf8', 'Grüße ✓'],
      ['guestinfo.long', 'x'.repeat(100_000)],
    ]);
    bench.vmx.rpci.handle('info-get', ({ args }) => {
      const value = values.get(args);
      return value === undefined ? { ok: false, value: 'No value found' } : done(value);
    });
    bench.vmx.rpci.handle('info-set', ({ args }) => {
      const [, name = '', value = ''] = /^(\S*) ?(.*)$/s.exec(args) ?? [];
      values.set(name, value);
      return done();
    });
    bench.vmx.rpci.handle('refuse', () => ({ ok: false, value: '' }));
  });
  afterAll(() => bench?.[Symbol.asyncDispose]());

  const usage = `rpctool syntax:

  -h | --help\tprint usage.
  rpctool <text>\tsend <text> as an RPC command.
`;
  const cases: [string, string[], Outcome][] = [
    ['a value', ['info-get guestinfo.text'], { status: 0, stdout: 'a value\n', stderr: '' }],
    ['an empty value', ['info-get guestinfo.empty'], { status: 0, stdout: '\n', stderr: '' }],
    ['a value of two lines', ['info-get guestinfo.lines'], { status: 0, stdout: 'one\ntwo\n', stderr: '' }],
    ['a value with a NUL', ['info-get guestinfo.nul'], { status: 0, stdout: 'before\n', stderr: '' }],
    ['other letters', ['info-get guestinfo.utf8'], { status: 0, stdout: 'Grüße ✓\n', stderr: '' }],
    [
      'a long value',
      ['info-get guestinfo.long'],
      { status: 0, stdout: `${'x'.repeat(100_000)}\n`, stderr: '' },
    ],
    ['no value', ['info-get guestinfo.none'], { status: 1, stdout: '', stderr: 'No value found\n' }],
    ['setting', ['info-set guestinfo.set  two  blanks '], { status: 0, stdout: '\n', stderr: '' }],
    ['what was set', ['info-get guestinfo.set'], { status: 0, stdout: ' two  blanks \n', stderr: '' }],
    ['an unknown command', ['nonsense'], { status: 1, stdout: '', stderr: 'Unknown command\n' }],
    ['a refusal without a word', ['refuse'], { status: 1, stdout: '', stderr: '\n' }],
    ['words apart', ['info-get', 'guestinfo.text'], { status: 1, stdout: '', stderr: 'No value found\n' }],
    ['an option that is none', ['--version'], { status: 1, stdout: '', stderr: 'Unknown command\n' }],
    ['no argument', [], { status: 1, stdout: '', stderr: usage }],
    ['-h', ['-h'], { status: 0, stdout: '', stderr: usage }],
    ['--help', ['--help', 'x'], { status: 0, stdout: '', stderr: usage }],
  ];

  it.each(cases)('%s', async (_what, args, outcome) => {
    expect(await ask(OURS, ...args)).toEqual(outcome);
    expect(bench.vmx.channels.open()).toEqual([]);
  });

  it.skipIf(withoutReference !== undefined).each(cases)(
    'vmware-rpctool: %s',
    async (_what, args, outcome) => {
      expect(await ask(THEIRS, ...args)).toEqual(outcome);
    },
  );

  it('sends the same calls as vmware-rpctool', async (context) => {
    context.skip(withoutReference !== undefined, withoutReference);
    const seen = async (tool: string[]) => {
      const before = new Map(bench.vmx.steps);
      await ask(tool, 'info-get guestinfo.text');
      const { bytes } = bench.vmx.rpci.calls.at(-1) ?? { bytes: Buffer.of() };
      const steps = [...bench.vmx.steps].map(([step, count]) => [step, count - (before.get(step) ?? 0)]);
      return { request: String(bytes), steps };
    };
    expect(await seen(OURS)).toEqual(await seen(THEIRS));
  });

  it.each<[string, 'OPEN' | 'SENDSIZE' | 'INSB', number, number, string, boolean]>([
    ['no channel', 'OPEN', 0, 2, 'Unable to open the communication channel', false],
    ['a message that is not taken', 'SENDSIZE', 0, 1, 'Unable to send the RPCI command', true],
    ['a reply that breaks off', 'INSB', 0, 1, 'Unable to receive the result of the RPCI command', false],
  ])('%s', async (_what, step, status, times, text, isAsTheirs) => {
    const inject = () => bench.vmx.channels.inject({ step, status, times, protocol: 'RPCI' });
    inject();
    const outcome = { status: 1, stdout: '', stderr: `RpcOut: ${text}\n` };
    expect(await ask(OURS, 'info-get guestinfo.text')).toEqual(outcome);
    inject();
    if (isAsTheirs && withoutReference === undefined)
      expect(await ask(THEIRS, 'info-get guestinfo.text')).toEqual(outcome);
    else await ask(OURS, 'info-get guestinfo.text');
  });
});

describe('elsewhere', () => {
  const run = (tool: readonly string[], ...args: string[]) => {
    const [command = '', ...rest] = tool;
    const { status, stdout, stderr } = spawnSync(command, [...rest, ...args], { encoding: 'utf8' });
    return { status, stdout, stderr };
  };
  const outside = (name: string): Outcome => ({
    status: 255,
    stdout: '',
    stderr: `Error: ${name} must be run inside a virtual machine on a VMware hypervisor product.\n`,
  });

  it('says so', () => {
    for (const args of [['info-get guestinfo.text'], []])
      expect(run(OURS, ...args)).toEqual(outside('chr-agent rpctool'));
    expect(run(OURS, '-h').status).toBe(0);
  });

  it.skipIf(withoutReference !== undefined)('as vmware-rpctool does', () => {
    for (const args of [['info-get guestinfo.text'], []])
      expect(run(THEIRS, ...args)).toEqual(outside(THEIRS[0] ?? ''));
  });

  it('loads nothing of the daemon', () => {
    const { stderr } = run(['strace', '-f', '-e', 'trace=openat,open', ...OURS], 'x');
    const sources = [...stderr.matchAll(/"[^"]*\/src\/([^"]+\.ts)"/g)].map(([, path]) => path ?? '');
    expect(sources).toContain('agent/cli/rpctool.ts');
    expect(sources.filter((path) => /daemon|config|qemu-ga|scripts|guest|quiesce/.test(path))).toEqual([]);
  });
});
