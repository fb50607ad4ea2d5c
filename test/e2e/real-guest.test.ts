/** The agent in a booted Debian guest, driven by real libvirt. environment.ts tells the switches. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { agentConfig } from './agent-config.ts';
import { seeReboot } from './agent-process.ts';
import { agentName, longRun, reasonToSkip, transcriptFile } from './environment.ts';
import { Guest } from './guest.ts';
import { installAgent } from './image.ts';
import { note } from './libvirt.ts';
import { administrationSuite, suspendSuite } from './suites/administration.ts';
import { commandSuite } from './suites/commands.ts';
import { fileSuite } from './suites/files.ts';
import { limitsSuite } from './suites/limits.ts';
import { proxmoxSuite } from './suites/proxmox.ts';
import { quiesceSuite } from './suites/quiesce.ts';
import { quiesceGuardSuite } from './suites/quiesce-guard.ts';
import { quiesceHooksSuite } from './suites/quiesce-hooks.ts';
import { rawChannelSuite } from './suites/raw-channel.ts';
import { scriptSuite } from './suites/scripts.ts';
import { snapshotSuite } from './suites/snapshot.ts';
import { upstreamSuite } from './suites/upstream.ts';
import { vmtoolsFrozenSuite } from './suites/vmtools-frozen.ts';
import { vmtoolsPowerSuite } from './suites/vmtools-power.ts';
import { vmtoolsVsocketSuite } from './suites/vmtools-vsocket.ts';

const SHUTDOWN_LIMIT_MS = 120_000;

const obstacle = reasonToSkip();
const title = `real guest, ${agentName}${obstacle === undefined ? '' : ` (skipped: ${obstacle})`}`;

describe.skipIf(obstacle !== undefined)(title, { timeout: 120_000 }, () => {
  let started: Guest | undefined;
  const guest = () => {
    if (started === undefined) throw new Error('the guest did not come up');
    return started;
  };

  beforeAll(async () => {
    const install = installAgent(agentName, agentConfig());
    started = await Guest.prepare(`real guest under libvirt, agent: ${agentName}`, install);
    await started.boot('fast');
  });

  afterAll(async () => {
    await started?.close();
    console.log(`virsh transcript: ${transcriptFile}`);
  });

  commandSuite(guest);
  scriptSuite(guest);
  fileSuite(guest);
  rawChannelSuite(guest);
  administrationSuite(guest);
  limitsSuite(guest);
  quiesceSuite(guest);
  quiesceHooksSuite(guest);
  snapshotSuite(guest);
  proxmoxSuite(guest);
  quiesceGuardSuite(guest);
  if (longRun) {
    // the acting commands beside the stock qemu-ga, and Ansible
    upstreamSuite(guest);
    suspendSuite(guest);
  }

  describe('shutdown', () => {
    it.runIf(longRun)('virsh reboot --mode agent boots it anew', { timeout: 400_000 }, async () => {
      await seeReboot(guest(), () => guest().virsh('reboot', '--mode', 'agent'));
    });

    it('guest-shutdown ends with the domain shut off', async () => {
      // no reply is due: virsh ends with an error when the guest goes, which is success here
      await guest()
        .agent('guest-shutdown', undefined, { timeoutS: 60 })
        .catch((error: unknown) => note(`no reply: ${error instanceof Error ? error.message : error}`));
      await guest().waitForShutOff(SHUTDOWN_LIMIT_MS);
    });

    vmtoolsVsocketSuite(guest);
    vmtoolsFrozenSuite(guest);
    vmtoolsPowerSuite(guest);

    it('virsh shutdown --mode agent ends with the domain shut off', { timeout: 400_000 }, async () => {
      await guest().boot(longRun ? 'systemd' : 'fast');
      expect(await guest().agent('guest-ping')).toEqual({});
      await guest().virsh('shutdown', '--mode', 'agent');
      await guest().waitForShutOff(SHUTDOWN_LIMIT_MS);
      expect(await guest().virsh('domstate')).toBe('shut off');
    });
  });
});
