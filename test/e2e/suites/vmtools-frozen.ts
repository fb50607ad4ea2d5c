/** What VMware's host asks for while the root file system is frozen by its own quiesced snapshot: nothing may hang, nothing be lost. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listProcesses, startProgram } from '../../hosts/vmx/vix.ts';
import { agentConfig } from '../agent-config.ts';
import { endAgent, putFile, rootIsWritable, shell, thawAnyway } from '../agent-process.ts';
import { agentName } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { startVmtoolsHost, VMTOOLS_PORTS, type VmtoolsHost } from '../vmtools-host.ts';

const LIMIT = { timeoutMs: 60_000 };
const STARTER = '/etc/e2e/agent';
const LOGIN = { user: 'root', password: 'e2e-password' };
/** tmpfs. */
const GO = '/run/vix-go';
const WRITABLE_AFTER_S = 10;
const HELD_UP_S = 3;

/** Leaves the guest running, its agent with the test transport. */
export function vmtoolsFrozenSuite(guest: () => Guest): void {
  describe.runIf(agentName === 'chr-agent')('a quiesced snapshot of VMware', { timeout: 300_000 }, () => {
    let host: VmtoolsHost;

    beforeAll(async () => {
      if ((await guest().state()) !== 'running') await guest().boot('fast');
      host = await startVmtoolsHost(guest().vmtoolsSockets);
      await shell(guest(), `echo '${LOGIN.user}:${LOGIN.password}' | chpasswd; rm -f ${GO}`);
      const config = `${agentConfig({ scriptTimeLimitS: 120 })}\n[vmtools]\nenabled = true\n`;
      await putFile(guest(), '/etc/chr-agent/agent.toml', config);
      const starter = `#!/bin/sh\nexport CHR_AGENT_VMTOOLS_SOCKET=${VMTOOLS_PORTS}\nexec /usr/bin/chr-agent run\n`;
      await putFile(guest(), STARTER, starter, '755');
      await endAgent(guest(), 'TERM');
      await guest().waitForAnswer();
      expect((await host.vmx.command('reset', LIMIT)).text).toBe('ATR toolbox');
      await host.vmx.command('Capabilities_Register', LIMIT);
    }, 300_000);

    afterAll(async () => {
      await thawAnyway(guest());
      await host?.[Symbol.asyncDispose]();
    });

    it('writes nothing of guest operations until the thaw', async () => {
      const { vmx } = host;
      const run = (text: string) => startProgram(vmx, { ...LOGIN, programPath: 'inline', arguments: text });
      const pid = await run(`while [ ! -e ${GO} ]; do sleep 0.2; done; echo failed here; exit 3`);
      const from = vmx.mark();
      expect(await vmx.command('vmbackup.start 0', LIMIT)).toMatchObject({ ok: true });
      await vmx.waitForRpc(/prov\.snapshotCommit/, { from, ...LIMIT });
      expect(await rootIsWritable(guest(), HELD_UP_S)).toBe(false);

      // the job fails now, and its output is to be kept in a file
      await shell(guest(), `: > ${GO}`);
      await expect(run('true')).rejects.toMatchObject({ error: 5 });
      await expect(listProcesses(vmx, { ...LOGIN, pids: [pid] })).rejects.toMatchObject({ error: 5 });
      for (let count = 0; count < 10; count += 1)
        expect(await vmx.command('ping', LIMIT)).toMatchObject({ ok: true });
      expect(await guest().agent('guest-ping')).toEqual({});
      await vmx.waitForRpc(/req\.keepAlive/, { from: vmx.mark(), ...LIMIT });

      expect(await vmx.command('vmbackup.snapshotDone', LIMIT)).toMatchObject({ ok: true });
      await vmx.waitForRpc(/req\.done/, { from, ...LIMIT });
      expect(await rootIsWritable(guest(), WRITABLE_AFTER_S)).toBe(true);
      const end = async () =>
        (await listProcesses(vmx, { ...LOGIN, pids: [] })).find((job) => job.pid === pid);
      await expect
        .poll(async () => (await end())?.exitCode ?? null, { timeout: 30_000, interval: 500 })
        .toBe(-1);
      expect(await shell(guest(), `cat /var/lib/chr-agent/files/vix_job_${pid}.txt`)).toBe('failed here');
      const wrong = { ...LOGIN, password: 'wrong', programPath: 'inline', arguments: 'true' };
      await expect(startProgram(vmx, wrong)).rejects.toMatchObject({ error: 3050 });
    });
  });
}
