/**
 * The same host against vmtoolsd (open-vm-tools 12.2) and against the agent in the `upstream` profile: session, options and power
 * operations. What differs is listed here and in docs/compatibility.md.
 */
import { describe, expect, it } from 'vitest';
import { startTracedAgent } from '../../support/traced-agent.ts';
import { type GuestOptions, openVmToolsMissing, startVmxBench, type VmxBench } from '../../support/vmx.ts';

const missing = openVmToolsMissing();
if (missing !== undefined) console.log(`skipped: ${missing}`);

const GUEST: GuestOptions = {
  configuration: `[guestinfo]\npoll-interval=0\nstats-interval=0
[powerops]\npoweron-script=on\npoweroff-script=off\nsuspend-script=with blank\nresume-script=killed\n`,
  scripts: {
    on: '#!/bin/sh\nexit $#\n',
    off: '#!/bin/sh\nsleep 0.3\n',
    'with blank': '#!/bin/sh\necho output\nexit 3\n',
    killed: '#!/bin/sh\nkill -9 $$\n',
  },
};
const COMMANDS = [
  'reset',
  'reset',
  'Capabilities_Register',
  ...['ping', 'ping x', ' ping', 'PING', ' ', 'nonsense'],
  'Set_Option',
  'Set_Option ',
  'Set_Option nonsense',
  'Set_Option nonsense 1',
  'Set_Option toolScripts.afterPowerOn maybe',
  'Set_Option copypaste 1',
  ...['OS_PowerOn', 'OS_Suspend', 'OS_Suspend', 'OS_Suspend', 'OS_PowerOn', 'OS_Suspend', 'OS_Suspend x'],
  ...['OS_Resume', 'OS_Suspend', 'OS_Resume', 'OS_Resume'],
  'OS_Halt',
  'Set_Option toolScripts.beforePowerOff 0',
  'OS_Reboot',
  'Set_Option toolScripts.beforeSuspend 0',
  'OS_Suspend',
];
const LIMIT = { timeoutMs: 60_000 };
const BUSY = 'State change already in progress';
const STATUS = /^tools\.os\.statechange\.status/;
/** What the session, options and power operations say. */
const OURS = /^(log |tools\.|vmx\.|info-set guestinfo\.vmtools)/;

/** Commands with their replies, each with the RPCs that belong to it. */
async function drive(start: (bench: VmxBench) => void): Promise<string[]> {
  await using bench = await startVmxBench();
  start(bench);
  const { vmx } = bench;
  await vmx.waitForRpc(/^info-set guestinfo\.vmtools\.buildNumber/, LIMIT);
  const lines: string[] = [];
  let from = 0;
  for (const command of COMMANDS) {
    const since = vmx.mark();
    let reply = await vmx.command(command, LIMIT);
    // the operation before may not be quite over when its status has come
    while (reply.text === BUSY) reply = await vmx.command(command, LIMIT);
    lines.push(`${command} = ${reply.bytes.toString()}`);
    if (command === 'reset' && lines.length === 1)
      await vmx.waitForRpc(/^log toolbox/, { from: since, ...LIMIT });
    if (command.startsWith('OS_')) await vmx.waitForRpc(STATUS, { from: since, ...LIMIT });
    if (/Halt|Reboot/.test(command)) await vmx.waitForRpc(/^log Initiating/, { from: since, ...LIMIT });
    for (const { text, endsWithNul } of vmx.rpci.calls.slice(from))
      if (OURS.test(text)) lines.push(`  ${text}${endsWithNul ? '\\0' : ''}`);
    from = vmx.mark();
  }
  return lines;
}

/** Names and numbers that are each program's own. */
const anonymous = (line: string) =>
  line.replace(/(vmtools\.(description|buildNumber)|toolbox: Version:) .*/, '$1 …');

describe.skipIf(missing !== undefined)('beside vmtoolsd', { timeout: 150_000 }, () => {
  it('says and answers the same', async () => {
    const [reference, own] = await Promise.all([
      drive((bench) => bench.startToolsDaemon(GUEST)),
      drive((bench) => startTracedAgent(bench, GUEST, 'compat = "upstream"')),
    ]);
    // it serves no host-guest file system
    const withoutHgfs = reference.filter((line) => !line.includes('tools.capability.hgfs_server'));
    // this run of the agent may not shut down
    const withoutRefusal = own.filter((line) => !/^ {2}log The (halt|reboot) failed: refused/.test(line));
    expect(withoutRefusal.map(anonymous)).toEqual(withoutHgfs.map(anonymous));
  });
});
