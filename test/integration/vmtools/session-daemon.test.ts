/** The whole daemon at a simulated host, by the test transport: its life, its status, and `chr-agent scripts`. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createVmx, type Vmx } from '../../hosts/vmx/vmx.ts';
import { listenForVsockets, type VsocketLink } from '../../hosts/vmx/vsocket-link.ts';
import { COMPILE_CACHE } from '../../support/compile-cache.ts';

const MAIN = new URL('../../../src/agent/main.ts', import.meta.url).pathname;
const LIMIT = { timeoutMs: 30_000 };
const STATUS = /^tools\.os\.statechange\.status/;

let directory: string;
let vmx: Vmx;
let link: VsocketLink;
let running: ChildProcess[];
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'vmtools-daemon-'));
  mkdirSync(join(directory, 'hooks'));
  writeFileSync(
    join(directory, 'agent.toml'),
    `[agent]\nruntime-dir = "${directory}/run"\nstate-dir = "${directory}/state"
[qemu-ga]\nenabled = false\n[xenstore]\nenabled = false\n[shaper]\nenabled = false
[vmtools]\nenabled = true\ntools-conf = "${directory}/tools.conf"
[freeze]\nhooks-dir = "${directory}/hooks"\n`,
  );
  vmx = createVmx();
  link = await listenForVsockets(vmx, join(directory, 'host'));
  symlinkSync(join(directory, 'host.vsock.976'), join(directory, 'host.rpci'));
  symlinkSync(join(directory, 'host.vsock.975'), join(directory, 'host.tclo'));
  running = [];
});
afterEach(async () => {
  for (const daemon of running) daemon.kill('SIGKILL');
  await link[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

const environment = () => ({
  ...process.env,
  ...COMPILE_CACHE,
  CHR_AGENT_NO_ACTIONS: '1',
  CHR_AGENT_VMTOOLS_SOCKET: join(directory, 'host'),
});
const words = (argv: readonly string[]) => [
  '--no-warnings',
  MAIN,
  ...argv,
  '--config',
  join(directory, 'agent.toml'),
];

/** Starts the daemon; the host brings it up. */
async function start(): Promise<{ daemon: ChildProcess; log: () => string }> {
  const session = vmx.tclo.sessions + 1;
  const daemon = spawn(process.execPath, words(['run']), {
    env: environment(),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  running.push(daemon);
  let log = '';
  daemon.stderr?.on('data', (data) => {
    log += data;
  });
  await vmx.tclo.session(session, LIMIT.timeoutMs);
  await vmx.bringUp();
  return { daemon, log: () => log };
}

function chrAgent(...argv: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, words(argv), {
    env: environment(),
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${argv.join(' ')}: exit status ${status}: ${stderr}`);
  return stdout;
}

function setHook(name: string, then: string): void {
  writeFileSync(join(directory, 'hooks', name), `echo ${name} >> ${directory}/runs\n${then}\n`);
  writeFileSync(join(directory, 'runs'), '');
}
const runs = () => readFileSync(join(directory, 'runs'), 'utf8');

async function operation(command: string): Promise<string> {
  const from = vmx.mark();
  expect(await vmx.command(command, LIMIT)).toMatchObject({ ok: true });
  return (await vmx.waitForRpc(STATUS, { from, ...LIMIT })).text;
}

describe('the daemon at a VMware host', () => {
  it('is seen as running tools, tells its state, and takes everything back at its end', async () => {
    const { daemon } = await start();
    expect(vmx.variables.get('guestinfo.vmtools.versionNumber')).toBe('12352');
    expect(vmx.capabilities.get('tools.set.versiontype')).toBe('12352 4');
    const status = JSON.parse(chrAgent('status', '--json'));
    expect(status.protocols).toContainEqual({ name: 'vmtools', state: 'connected', detail: 'vsocket' });
    daemon.kill('SIGTERM');
    expect(await once(daemon, 'exit')).toEqual([0, null]);
    expect(vmx.rpci.calls.at(-1)?.text).toBe('info-set guestinfo.appInfo ');
    expect(vmx.tclo.connected).toBe(false);
  });

  it('runs a script only while the console allows it, also after a restart', async () => {
    setHook('suspend', 'exit 1');
    const { daemon } = await start();
    expect(await operation('OS_Suspend')).toBe('tools.os.statechange.status 0 5');
    expect(runs()).toBe('suspend\n');
    expect(chrAgent('scripts', 'disable', 'suspend')).toMatch(/suspend +disabled/);
    expect(await operation('OS_Suspend')).toBe('tools.os.statechange.status 1 5');
    daemon.kill('SIGTERM');
    await once(daemon, 'exit');
    expect(chrAgent('scripts', 'list', 'suspend')).toMatch(/suspend +disabled/);

    await start();
    expect(await operation('OS_Suspend')).toBe('tools.os.statechange.status 1 5');
    expect(runs()).toBe('suspend\n');
    expect(chrAgent('scripts', 'enable')).toMatch(/suspend +enabled/);
    expect(await operation('OS_Suspend')).toBe('tools.os.statechange.status 0 5');
    expect(runs()).toBe('suspend\nsuspend\n');
  });

  it('brings a power operation to its end when it is ended meanwhile', async () => {
    setHook('poweroff', `while [ ! -e ${directory}/go ]; do sleep 0.05; done`);
    const { daemon, log } = await start();
    expect(await vmx.command('OS_Halt', LIMIT)).toMatchObject({ ok: true });
    daemon.kill('SIGTERM');
    await expect.poll(log, { timeout: LIMIT.timeoutMs }).toContain('SIGTERM: stopping');
    expect(await vmx.command('ping', LIMIT)).toMatchObject({ ok: true });
    writeFileSync(join(directory, 'go'), '');
    expect(await once(daemon, 'exit')).toEqual([0, null]);
    expect(vmx.powerStatuses.at(-1)).toEqual({ success: true, state: 1 });
    expect(vmx.log).toContain('Initiating halt.');
    expect(log()).toContain('refused: this run may not shut the machine down');
  });
});
