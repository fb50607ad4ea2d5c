/**
 * The example program of the appliance's documentation (chr-wiki.txt), run by the real pyVmomi against a vSphere endpoint in front of
 * the simulated host and the agent's own service.
 */
import { execFile, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startVsphere, type VsphereEndpoint } from '../../hosts/vsphere/endpoint.ts';
import { startTestTools, type TestTools } from '../../support/vmtools-service.ts';

const PYTHON = '/usr/bin/python3';
const EXAMPLE = new URL('../../hosts/vsphere/example.py', import.meta.url).pathname;
const MACHINE = {
  datastore: 'datastore1',
  machine: 'chr-test',
  uuid: '564d0000-0000-4000-8000-000000000001',
  user: 'root',
  password: 'MikroTik',
};

const missing =
  spawnSync(PYTHON, ['-W', 'ignore', '-c', 'import pyVim.connect']).status === 0
    ? undefined
    : 'pyVmomi is not there (apt-get install python3-pyvmomi)';
if (missing !== undefined) console.log(`skipped: ${missing}`);

const example = (vsphere: VsphereEndpoint, mode: string, argument: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const args = ['-W', 'ignore', EXAMPLE, String(vsphere.port), mode, argument];
    execFile(PYTHON, args, { timeout: 60_000 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout.trim());
      else reject(new Error(`${mode}: ${stderr || error.message}`));
    });
  });

async function withVsphere(
  work: (vsphere: VsphereEndpoint, tools: TestTools, everyones: string) => Promise<void>,
): Promise<void> {
  await using tools = await startTestTools({
    guestOperations: {
      policy: { users: ['root'], groups: [], emptyPassword: ['admin'] },
    },
  });
  await using vsphere = await startVsphere(tools.vmx, MACHINE);
  // scripts run as the account that has logged in
  const everyones = join(tools.directory, 'everyones');
  mkdirSync(everyones);
  chmodSync(everyones, 0o777);
  chmodSync(tools.directory, 0o755);
  await work(vsphere, tools, everyones);
}

describe.skipIf(missing !== undefined)('the documented example', { timeout: 90_000 }, () => {
  it('runs a script, and finds its job', async () => {
    await withVsphere(async (vsphere, _tools, everyones) => {
      const proof = join(everyones, 'proof');
      const said = await example(vsphere, 'console', `echo 'a "b" <c> & d' > ${proof}`);
      expect(said).toBe('console 0 True admin');
      expect(readFileSync(proof, 'utf8')).toBe('a "b" <c> & d\n');
      expect(vsphere.calls).toEqual(
        expect.arrayContaining([
          'Login',
          'CreateContainerView',
          'FindByDatastorePath',
          'StartProgramInGuest',
          'ListProcessesInGuest',
          'Logout',
        ]),
      );
    });
  });

  it('runs a file of the files directory', async () => {
    await withVsphere(async (vsphere, tools, everyones) => {
      mkdirSync(join(tools.filesDir, 'scripts'), { recursive: true });
      const proof = join(everyones, 'proof');
      writeFileSync(join(tools.filesDir, 'scripts/provision.rsc'), `echo done > ${proof}\n`);
      expect(await example(vsphere, 'import', 'scripts/provision.rsc')).toBe('import 0 True admin');
      expect(existsSync(proof)).toBe(true);
      expect(await example(vsphere, 'import', 'missing.rsc')).toBe('vim.fault.FileNotFound');
    });
  });

  it('sees a script fail, and what it printed', async () => {
    await withVsphere(async (vsphere, tools) => {
      expect(await example(vsphere, 'inline', 'echo trouble; exit 3')).toBe('inline -1 True admin');
      const [name = ''] = readdirSync(tools.filesDir).filter((each) => /^vix_job_\d+\.txt$/.test(each));
      expect(readFileSync(join(tools.filesDir, name), 'utf8')).toBe('trouble\n');
    });
  });

  it('is refused with another program or a wrong login', async () => {
    await withVsphere(async (vsphere) => {
      expect(await example(vsphere, '/bin/sh', '-c true')).toBe('vmodl.fault.InvalidArgument');
      expect(await example(vsphere, 'login', 'admin:wrong')).toBe('vim.fault.InvalidGuestLogin');
      expect(await example(vsphere, 'uuid', MACHINE.uuid)).toBe('True');
    });
  });

  it('takes a snapshot, quiesced only if that is asked for', async () => {
    await withVsphere(async (vsphere, tools) => {
      for (const name of ['freeze', 'freeze-fail', 'thaw'] as const) tools.setHook(name, 'true');
      expect(await example(vsphere, 'snapshot', 'plain')).toBe('taken');
      expect(tools.hookRuns()).toEqual([]);
      expect(await example(vsphere, 'snapshot', 'quiesced')).toBe('taken');
      expect(tools.hookRuns()).toEqual(['freeze', 'thaw']);
      tools.setHook('freeze', 'exit 1');
      expect(await example(vsphere, 'snapshot', 'quiesced')).toBe('vim.fault.ApplicationQuiesceFault');
      expect(tools.hookRuns().slice(2)).toEqual(['freeze', 'freeze-fail']);
    });
  });
});
