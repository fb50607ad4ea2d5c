/** Power operations with real scripts (spec vmware.md section 9; chr-wiki.txt "Power operations"), against the simulated host. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ActionRefused } from '../../../src/guest/actions.ts';
import { startTestTools, type TestTools } from '../../support/vmtools-service.ts';

const OPERATIONS = [
  ['OS_PowerOn', 3, 'poweron'],
  ['OS_Resume', 4, 'resume'],
  ['OS_Suspend', 5, 'suspend'],
  ['OS_Halt', 1, 'poweroff'],
  ['OS_Reboot', 2, 'poweroff'],
] as const;
const STATUS = /^tools\.os\.statechange\.status/;

/** The operation up to its status; all that the guest said about it. */
async function operation(tools: TestTools, command: string, reply = 'OK '): Promise<string[]> {
  const from = tools.vmx.mark();
  expect(await tools.ask(command)).toBe(reply);
  await tools.vmx.waitForRpc(STATUS, { from, timeoutMs: 60_000 });
  return tools.texts(from).filter((text) => /^(log|tools\.os)/.test(text));
}

const fails = (state: string, code: number, success: 0 | 1, number: number) => [
  `log Executing script for state change '${state}'.`,
  `log Script exit code: ${code}, success = 0`,
  `tools.os.statechange.status ${success} ${number}`,
];

describe('power operations', () => {
  it.each(OPERATIONS)('%s runs its script and tells its success', async (name, number, hook) => {
    await using tools = await startTestTools();
    tools.setHook(hook, 'exit 0');
    expect((await operation(tools, name)).slice(0, 3)).toEqual([
      `log Executing script for state change '${name}'.`,
      'log Script exit code: 0, success = 1',
      `tools.os.statechange.status 1 ${number}`,
    ]);
    expect(tools.hookRuns()).toEqual([hook]);
  });

  it.each(OPERATIONS)('%s is told before the reply when there is no script', async (name, number) => {
    await using tools = await startTestTools();
    const from = tools.vmx.mark();
    expect(await tools.ask(name)).toBe('OK ');
    expect(tools.texts(from)).toContain(`tools.os.statechange.status 1 ${number}`);
  });

  it.each([
    ['OS_Halt', 'powerdown', 'halt'],
    ['OS_Reboot', 'reboot', 'reboot'],
  ])('%s shuts the guest down after its script', async (name, mode, word) => {
    await using tools = await startTestTools();
    tools.setHook('poweroff', 'exit 0');
    await operation(tools, name);
    await tools.vmx.waitForRpc(`log Initiating ${word}.`);
    await expect.poll(() => tools.powered).toEqual([mode]);
  });

  it.each(OPERATIONS)('%s: what a failed script has printed is kept', async (name, number, hook) => {
    await using tools = await startTestTools();
    tools.setHook(hook, 'echo no good; echo at all >&2; exit 1');
    expect((await operation(tools, name)).at(-1)).toBe(`tools.os.statechange.status 0 ${number}`);
    expect(readFileSync(join(tools.filesDir, `${hook}-script.log`), 'utf8')).toBe('no good\nat all\n');
  });

  it('fails when the script takes longer than 30 s, and keeps what it has printed', {
    timeout: 90_000,
  }, async () => {
    await using tools = await startTestTools();
    tools.setHook('suspend', 'echo begun; exec sleep 600');
    const startMs = performance.now();
    expect((await operation(tools, 'OS_Suspend')).at(-1)).toBe('tools.os.statechange.status 0 5');
    expect(performance.now() - startMs).toBeGreaterThan(29_000);
    expect(readFileSync(join(tools.filesDir, 'suspend-script.log'), 'utf8')).toContain('begun\n');
  });

  it('fails once, and does at the very next try what was asked', async () => {
    await using tools = await startTestTools();
    tools.setHook('poweroff', 'echo no good; exit 3');
    expect(await operation(tools, 'OS_Halt')).toEqual(fails('OS_Halt', 3, 0, 1));
    expect(tools.powered).toEqual([]);
    expect(readFileSync(join(tools.filesDir, 'poweroff-script.log'), 'utf8')).toBe('no good\n');
    expect((await operation(tools, 'OS_Halt')).slice(0, 3)).toEqual(fails('OS_Halt', 3, 1, 1));
    await expect.poll(() => tools.powered).toEqual(['powerdown']);
    expect(tools.hookRuns()).toEqual(['poweroff', 'poweroff']);
    // the third one is a first one again
    await expect.poll(() => tools.ask('OS_Halt')).toBe('OK ');
    await expect.poll(() => tools.vmx.powerStatuses.at(-1)).toEqual({ success: false, state: 1 });
  });

  it('forgets a failure when another operation comes between', async () => {
    await using tools = await startTestTools();
    tools.setHook('suspend', 'exit 1');
    tools.setHook('poweron', 'exit 1');
    expect((await operation(tools, 'OS_Suspend')).at(-1)).toBe('tools.os.statechange.status 0 5');
    expect((await operation(tools, 'OS_Resume')).at(-1)).toBe('tools.os.statechange.status 1 4');
    expect((await operation(tools, 'OS_Suspend')).at(-1)).toBe('tools.os.statechange.status 0 5');
    expect((await operation(tools, 'OS_PowerOn')).at(-1)).toBe('tools.os.statechange.status 0 3');
    expect((await operation(tools, 'OS_Suspend')).at(-1)).toBe('tools.os.statechange.status 0 5');
    expect((await operation(tools, 'OS_Suspend')).at(-1)).toBe('tools.os.statechange.status 1 5');
  });

  it('a script that cannot be started fails at once, and is no obstacle for the next try', async () => {
    await using tools = await startTestTools();
    writeFileSync(join(tools.directory, 'hooks', 'suspend'), '#!/nowhere/sh\n', { mode: 0o755 });
    expect(await operation(tools, 'OS_Suspend', 'ERROR Error starting script')).toEqual([
      "log Executing script for state change 'OS_Suspend'.",
      'tools.os.statechange.status 0 5',
    ]);
    expect((await operation(tools, 'OS_Suspend')).at(-1)).toBe('tools.os.statechange.status 1 5');
    expect(readFileSync(join(tools.filesDir, 'suspend-script.log'), 'utf8')).toContain('No such file');
  });

  it('does one at a time, and answers meanwhile', async () => {
    await using tools = await startTestTools();
    tools.setHook('poweroff', `while [ ! -e ${tools.directory}/go ]; do sleep 0.05; done`);
    const from = tools.vmx.mark();
    expect(await tools.ask('OS_Halt')).toBe('OK ');
    for (const [name] of OPERATIONS)
      expect(await tools.ask(name)).toBe('ERROR State change already in progress');
    expect(await tools.ask('ping')).toBe('OK ');
    expect(tools.vmx.powerStatuses).toEqual([]);
    writeFileSync(join(tools.directory, 'go'), '');
    await tools.vmx.waitForRpc('log Initiating halt.', { from });
    expect(tools.vmx.powerStatuses).toEqual([{ success: true, state: 1 }]);
    expect(tools.hookRuns()).toEqual(['poweroff']);
  });

  it('tells the outcome to a host that went away and came back meanwhile', async () => {
    await using tools = await startTestTools();
    await tools.vmx.bringUp();
    tools.setHook('suspend', `while [ ! -e ${tools.directory}/go ]; do sleep 0.05; done`);
    expect(await tools.ask('OS_Suspend')).toBe('OK ');
    tools.vmx.revert();
    await tools.vmx.tclo.session(2);
    expect(await tools.ask('reset')).toBe('OK ATR toolbox');
    expect(await tools.ask('OS_Suspend')).toBe('ERROR State change already in progress');
    const from = tools.vmx.mark();
    writeFileSync(join(tools.directory, 'go'), '');
    await tools.vmx.waitForRpc('tools.os.statechange.status 1 5', { from });
    expect(await operation(tools, 'OS_Resume')).toEqual(['tools.os.statechange.status 1 4']);
  });

  it('refuses while file systems are frozen, and the refusal is no first try', async () => {
    await using tools = await startTestTools();
    tools.setHook('poweroff', 'exit 1');
    await tools.gate.shut();
    const refusal = ['tools.os.statechange.status 0 1'];
    expect(await operation(tools, 'OS_Halt', 'ERROR Error starting script')).toEqual(refusal);
    expect(await operation(tools, 'OS_Halt', 'ERROR Error starting script')).toEqual(refusal);
    tools.gate.open();
    expect((await operation(tools, 'OS_Halt')).at(-1)).toBe('tools.os.statechange.status 0 1');
    expect(tools.powered).toEqual([]);
  });

  it('says in both logs when the guest may not be shut down', async () => {
    await using tools = await startTestTools({
      power: async () => {
        throw new ActionRefused('refused: this run may not shut the machine down');
      },
    });
    expect(await tools.ask('OS_Halt')).toBe('OK ');
    await tools.vmx.waitForRpc('log The halt failed: refused: this run may not shut the machine down');
    expect(tools.log.lines.join('\n')).toContain('the halt failed: refused');
    expect(tools.vmx.powerStatuses).toEqual([{ success: true, state: 1 }]);
    await expect.poll(() => tools.ask('OS_Resume')).toBe('OK ');
  });
});

describe('the switches of power scripts', () => {
  it.each([
    [true, true, ['suspend']],
    [true, false, []],
    [false, true, []],
    [false, false, []],
  ])('host allows it %s, console %s', async (byHost, byConsole, runs) => {
    await using tools = await startTestTools();
    tools.setHook('suspend', 'exit 0');
    await tools.ask(`Set_Option toolScripts.beforeSuspend ${byHost ? 1 : 0}`);
    await tools.settings.setEnabled(['suspend'], byConsole);
    expect((await operation(tools, 'OS_Suspend')).at(-1)).toBe('tools.os.statechange.status 1 5');
    expect(tools.hookRuns()).toEqual(runs);
  });

  it.each([
    ['toolScripts.afterPowerOn', 'OS_PowerOn', 'poweron'],
    ['toolScripts.afterResume', 'OS_Resume', 'resume'],
    ['toolScripts.beforePowerOff', 'OS_Halt', 'poweroff'],
    ['toolScripts.beforePowerOff', 'OS_Reboot', 'poweroff'],
    ['toolScripts.beforeSuspend', 'OS_Suspend', 'suspend'],
  ] as const)('%s is of %s', async (option, command, hook) => {
    await using tools = await startTestTools();
    tools.setHook(hook, 'exit 0');
    await tools.ask(`Set_Option ${option} 0`);
    await operation(tools, command);
    expect(tools.hookRuns()).toEqual([]);
    await expect.poll(() => tools.ask(`Set_Option ${option} 1`)).toBe('OK ');
    await expect.poll(() => tools.ask(command)).toBe('OK ');
    await expect.poll(() => tools.hookRuns()).toEqual([hook]);
  });
});

describe('power operations in the upstream profile', () => {
  it('runs the scripts of [powerops], found as open-vm-tools does', async () => {
    await using tools = await startTestTools({ compat: 'upstream' });
    const mark = join(tools.directory, 'mark');
    writeFileSync(join(tools.directory, 'own'), `#!/bin/sh\necho $# > ${mark}\nexit 7\n`, { mode: 0o755 });
    tools.setToolsConf(
      `[powerops]\nsuspend-script=${tools.directory}/own\nresume-script=\npoweron-script=/nowhere/on\n`,
    );
    expect(await operation(tools, 'OS_Suspend')).toEqual(fails('OS_Suspend', 7, 0, 5));
    expect(readFileSync(mark, 'utf8')).toBe('0\n');
    expect(existsSync(join(tools.filesDir, 'suspend-script.log'))).toBe(false);
    expect(await operation(tools, 'OS_Resume')).toEqual(['tools.os.statechange.status 1 4']);
    expect((await operation(tools, 'OS_PowerOn', 'ERROR Error starting script')).at(-1)).toBe(
      'tools.os.statechange.status 0 3',
    );
    // re-read at once
    tools.setToolsConf('[powerops]\npoweron-script=/bin/true\n');
    expect((await operation(tools, 'OS_PowerOn')).at(-1)).toBe('tools.os.statechange.status 1 3');
  });
});
