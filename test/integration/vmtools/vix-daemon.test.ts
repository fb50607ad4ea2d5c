/** Guest operations of the whole daemon, at the simulated host's backdoor: pyVmomi's way in, and JobIDs over a restart. */
import { execFile, spawnSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listProcesses, startProgram } from '../../hosts/vmx/vix.ts';
import { startVsphere } from '../../hosts/vsphere/endpoint.ts';
import { PASSWORD } from '../../support/guest-accounts.ts';
import { startTracedAgent } from '../../support/traced-agent.ts';
import { startVmxBench, type TracedProgram, tracingMissing, type VmxBench } from '../../support/vmx.ts';

const PYTHON = '/usr/bin/python3';
const EXAMPLE = new URL('../../hosts/vsphere/example.py', import.meta.url).pathname;
const MACHINE = {
  datastore: 'datastore1',
  machine: 'chr-test',
  uuid: '564d0000-0000-4000-8000-000000000001',
  user: 'root',
  password: 'MikroTik',
};
const LOGIN = { user: 'operator', password: PASSWORD };
const LIMIT = { timeout: 20_000 };

const missing = tracingMissing();
if (missing !== undefined) console.log(`skipped: ${missing}`);
const hasPyVmomi = spawnSync(PYTHON, ['-W', 'ignore', '-c', 'import pyVim.connect']).status === 0;

let bench: VmxBench;
beforeEach(async () => {
  bench = await startVmxBench();
  chmodSync(bench.directory, 0o755);
});
afterEach(() => bench[Symbol.asyncDispose]());

async function start(): Promise<TracedProgram> {
  const session = bench.vmx.tclo.sessions + 1;
  const settings = `guest-operations-groups = ["chr-agent"]
allow-empty-password = ["admin"]
guest-operations-users = ["root", "admin"]
[scripts]
files-dir = "${bench.directory}/files"`;
  const agent = startTracedAgent(bench, { accounts: true }, settings);
  await bench.vmx.tclo.session(session, 30_000);
  await bench.vmx.bringUp();
  return agent;
}
const list = (...pids: number[]) => listProcesses(bench.vmx, { ...LOGIN, pids });
const run = (text: string) => startProgram(bench.vmx, { ...LOGIN, programPath: 'inline', arguments: text });

describe.skipIf(missing !== undefined)('the daemon', { timeout: 90_000 }, () => {
  it.runIf(hasPyVmomi)('runs a script of the documented example', async () => {
    await start();
    await using vsphere = await startVsphere(bench.vmx, MACHINE);
    const args = ['-W', 'ignore', EXAMPLE, String(vsphere.port), 'console', 'exit 0'];
    const { stdout } = await promisify(execFile)(PYTHON, args, { timeout: 60_000 });
    expect(stdout.trim()).toBe('console 0 True admin');
  });

  it('knows after a restart what became of its jobs', async () => {
    const first = await start();
    const done = await run('exit 0');
    await expect
      .poll(async () => (await list()).find(({ pid }) => pid === done)?.exitCode ?? null, LIMIT)
      .toBe(0);
    const lost = await run('sleep 600');
    await first.destroy();
    await start();
    expect(await list()).toMatchObject([
      { pid: done, name: 'inline', owner: 'operator', exitCode: 0 },
      { pid: lost, name: 'inline', owner: 'operator', exitCode: -1 },
    ]);
    expect((await list(lost))[0]?.endSeconds).not.toBeNull();
    expect(await list(lost)).toEqual([]);
    expect(await run('true')).toBeGreaterThan(lost);
  });
});
