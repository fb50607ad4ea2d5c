/** The session as a host drives it (spec vmware.md sections 4.2, 5, 6.1 and 6.2), against the simulated host. */
import { describe, expect, it } from 'vitest';
import { createVmx } from '../../hosts/vmx/vmx.ts';
import { startTestTools, type TestTools, type TestToolsOptions } from '../../support/vmtools-service.ts';

const VERSION = [
  'info-set guestinfo.vmtools.description chr-agent 1.2.3',
  'info-set guestinfo.vmtools.versionString 12.2.0',
  'info-set guestinfo.vmtools.versionNumber 12352',
  'info-set guestinfo.vmtools.buildNumber 1002003',
];
const EARLY = /^info-set guestinfo\.vmtools\.buildNumber/;

/** What one command made the guest say, without the guest's information and with its uptime as N. */
async function said(tools: TestTools, command: string): Promise<string[]> {
  const from = tools.vmx.mark();
  await tools.ask(command);
  return tools
    .texts(from)
    .map((text) => text.replace(/^(SetGuestInfo {2}7) \d+$/, '$1 N'))
    .filter((text) => !/^SetGuest.*Info {2}(?!7)/.test(text));
}

async function start(options: TestToolsOptions = {}): Promise<TestTools> {
  const tools = await startTestTools(options);
  await tools.vmx.waitForRpc(EARLY);
  return tools;
}

describe('the start', () => {
  it('tells the version first, and says that it is connected', async () => {
    await using tools = await start();
    expect(tools.texts().slice(0, 4)).toEqual(VERSION);
    expect(tools.vmx.rpci.calls.every(({ endsWithNul }) => endsWithNul)).toBe(true);
    expect(tools.states).toEqual(['connected backdoor']);
  });

  it('goes on without a host that has a channel for RPCs', async () => {
    await using tools = await startTestTools({ vmx: createVmx({ maxChannels: 1 }) });
    await expect.poll(() => tools.log.lines.join()).toContain('the host cannot be told');
    expect(await tools.ask('reset')).toBe('OK ATR toolbox');
    expect(await tools.ask('OS_Suspend')).toBe('OK ');
    expect(tools.texts()).toEqual([]);
  });

  it('is a failure on another machine, told once', async () => {
    const vmx = createVmx({ cpuid: { vendor: 'KVMKVMKVM' } });
    await using tools = await startTestTools({ vmx, isHostThere: false });
    const problem = 'this is no VMware machine, or its host has closed the backdoor';
    expect(tools.states).toEqual([`failed ${problem}`]);
    expect(tools.log.lines).toEqual([`error: vmtools: ${problem}`]);
  });
});

describe('reset', () => {
  it('is answered after the channel is opened again and the application has named itself', async () => {
    await using tools = await start();
    const from = tools.vmx.mark();
    const opened = tools.vmx.steps.get('? OPEN') ?? 0;
    expect(await tools.ask('reset')).toBe('OK ATR toolbox');
    expect(tools.texts(from)).toEqual([
      'vmx.capability.unified_loop toolbox',
      'log toolbox: Version: chr-agent 1.2.3 (build-1002003)',
    ]);
    expect(tools.vmx.steps.get('? OPEN') ?? 0).toBeGreaterThanOrEqual(opened);
    // the version goes to the log once
    expect(await said(tools, 'reset')).toEqual(['vmx.capability.unified_loop toolbox']);
  });

  it('is answered also by a host that refuses everything', async () => {
    await using tools = await start();
    tools.vmx.rpci.refuse({ request: /./ });
    expect(await tools.ask('reset')).toBe('OK ATR toolbox');
    expect(await tools.ask('Capabilities_Register')).toBe('OK ');
  });

  it('comes after a snapshot was restored, over new channels', async () => {
    await using tools = await start();
    await tools.vmx.bringUp();
    tools.vmx.revert();
    await tools.vmx.tclo.session(2);
    await tools.vmx.bringUp({ event: 'OS_Resume' });
    expect(tools.vmx.capabilities.has('tools.capability.statechange')).toBe(true);
    expect(tools.vmx.powerStatuses).toEqual([
      { success: true, state: 3 },
      { success: true, state: 4 },
    ]);
  });
});

describe('Capabilities_Register', () => {
  it('is answered when all capabilities are told, in their order', async () => {
    await using tools = await start();
    await tools.ask('reset');
    const from = tools.vmx.mark();
    expect(await said(tools, 'Capabilities_Register')).toEqual([
      'SetGuestInfo  7 N',
      'tools.capability.statechange ',
      'tools.capability.softpowerop_retry ',
      'tools.capability.features 36=0',
      `tools.capability.guest_conf_directory ${tools.directory}`,
      'tools.set.versiontype 12352 4',
    ]);
    const bare = tools.vmx.rpci.calls.slice(from).filter(({ endsWithNul }) => !endsWithNul);
    expect(bare.map(({ name }) => name).filter((name) => name.startsWith('tools.'))).toEqual([
      'tools.capability.statechange',
      'tools.capability.softpowerop_retry',
    ]);
  });

  it.each([
    ['', 'tools.set.version 2147483647'],
    ['[vmtools]\ndisable-tools-version=false\n', 'tools.set.version 12352'],
  ])('falls back on the older version message (tools.conf %j)', async (conf, expected) => {
    await using tools = await start();
    tools.setToolsConf(conf);
    tools.vmx.rpci.refuse({ request: 'tools.set.versiontype' });
    expect((await said(tools, 'Capabilities_Register')).slice(-2)).toEqual([
      'tools.set.versiontype 12352 4',
      expected,
    ]);
  });

  it('hides the version if tools.conf says so, from when it says so', async () => {
    await using tools = await start();
    expect(await said(tools, 'Capabilities_Register')).toContain('tools.set.versiontype 12352 4');
    tools.setToolsConf('[vmtools]\nhide-tools-version=true\n');
    expect(await said(tools, 'Capabilities_Register')).toContain('tools.set.versiontype 2147483647 4');
  });

  it('leaves the uptime out while file systems are frozen, and does not wait', async () => {
    await using tools = await start();
    await tools.gate.shut();
    expect(await said(tools, 'Capabilities_Register')).not.toContain('SetGuestInfo  7 N');
    tools.gate.open();
  });
});

describe('Set_Option', () => {
  it.each([
    ['Set_Option toolScripts.afterPowerOn 0', 'OK '],
    ['Set_Option nonsense 1', 'OK '],
    ['Set_Option nonsense', 'OK '],
    ['Set_Option toolScripts.afterPowerOn maybe', 'OK '],
    ['Set_Option', 'ERROR Unknown or invalid option'],
    ['Set_Option ', 'ERROR Unknown or invalid option'],
  ])('%s', async (command, reply) => {
    await using tools = await start();
    expect(await tools.ask(command)).toBe(reply);
  });
});

describe('the end', () => {
  it('takes the capabilities back and closes the channels', async () => {
    await using tools = await start();
    await tools.vmx.bringUp();
    const from = tools.vmx.mark();
    await tools.stop();
    expect(tools.texts(from).slice(-2)).toEqual([
      'tools.capability.features 36=0',
      'info-set guestinfo.appInfo ',
    ]);
    expect(tools.vmx.channels.open()).toEqual([]);
  });
});
