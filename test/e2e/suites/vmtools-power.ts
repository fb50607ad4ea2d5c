/**
 * VMware's power operations in a guest that really goes down (spec vmware.md section 9). There is no VMware here: the simulated host is at
 * the ports of the test transport.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { agentConfig } from '../agent-config.ts';
import { endAgent, putFile, seeReboot, shell } from '../agent-process.ts';
import { agentName } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { startVmtoolsHost, VMTOOLS_PORTS, type VmtoolsHost } from '../vmtools-host.ts';

const LIMIT = { timeoutMs: 60_000 };
const SHUTDOWN_LIMIT_MS = 120_000;
const STARTER = '/etc/e2e/agent';
const MARK = '/var/power-hook';

/** Leaves the guest shut off. */
export function vmtoolsPowerSuite(guest: () => Guest): void {
  describe.runIf(agentName === 'chr-agent')('power operations of VMware', { timeout: 400_000 }, () => {
    let host: VmtoolsHost;

    beforeAll(async () => {
      if ((await guest().state()) !== 'running') await guest().boot('fast');
      host = await startVmtoolsHost(guest().vmtoolsSockets);
      await putFile(guest(), '/etc/chr-agent/agent.toml', `${agentConfig()}\n[vmtools]\nenabled = true\n`);
      await putFile(
        guest(),
        STARTER,
        `#!/bin/sh\nexport CHR_AGENT_VMTOOLS_SOCKET=${VMTOOLS_PORTS}\nexec /usr/bin/chr-agent run\n`,
        '755',
      );
      await putFile(
        guest(),
        '/etc/chr-agent/hooks/poweroff',
        `#!/bin/sh\necho poweroff >> ${MARK}\nsync ${MARK}\n`,
        '755',
      );
      await endAgent(guest(), 'TERM');
      await guest().waitForAnswer();
    }, 300_000);

    afterAll(() => host?.[Symbol.asyncDispose]());

    const bringUp = async () => {
      const { vmx } = host;
      // what came before was meant for an agent that is gone
      const reset = await vmx.command('reset', LIMIT);
      expect(reset.text).toBe('ATR toolbox');
      await vmx.command('Capabilities_Register', LIMIT);
      await vmx.command('OS_PowerOn', LIMIT);
      expect(vmx.variables.get('guestinfo.vmtools.versionNumber')).toBe('12352');
    };

    it('OS_Reboot runs the poweroff script and boots the guest anew', async () => {
      await bringUp();
      await seeReboot(guest(), async () => {
        const from = host.vmx.mark();
        expect(await host.vmx.command('OS_Reboot', LIMIT)).toMatchObject({ ok: true });
        await host.vmx.waitForRpc('tools.os.statechange.status 1 2', { from, ...LIMIT });
      });
      expect(await shell(guest(), `cat ${MARK}`)).toBe('poweroff');
    });

    it('OS_Halt runs it too, and ends with the domain shut off', async () => {
      await bringUp();
      const from = host.vmx.mark();
      expect(await host.vmx.command('OS_Halt', LIMIT)).toMatchObject({ ok: true });
      await host.vmx.waitForRpc('log Initiating halt.', { from, ...LIMIT });
      expect(host.vmx.powerStatuses.at(-1)).toEqual({ success: true, state: 1 });
      await guest().waitForShutOff(SHUTDOWN_LIMIT_MS);
    });
  });
}
