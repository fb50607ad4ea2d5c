/** The whole daemon where CPUID names VMware: switched on by itself, and what `detect`, `status` and `doctor` say. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startVmxBench, tracingMissing, type VmxBench } from '../../support/vmx.ts';

const MAIN = new URL('../../../src/agent/main.ts', import.meta.url).pathname;
const missing = tracingMissing();
if (missing !== undefined) console.log(`skipped: ${missing}`);

/** Runs the daemon until `status` has the line wanted. @returns what each subcommand said, by its name */
async function look(bench: VmxBench, wanted: string): Promise<Record<string, string>> {
  const { directory } = bench;
  writeFileSync(
    join(directory, 'agent.toml'),
    `[agent]\nruntime-dir = "${directory}/run"\nstate-dir = "${directory}/state"\n[shaper]\nenabled = false\n`,
  );
  const script = `agent() { "$node" --no-warnings "$main" "$@" --config agent.toml; }
export CHR_AGENT_NO_ACTIONS=1; cd "$1"; node=$2 main=$3 wanted=$4
"$node" --no-warnings "$main" detect > detect
agent doctor > doctor-alone
"$node" --no-warnings "$main" run --config agent.toml 2> log & daemon=$!
tries=0
until agent status > status 2> error && grep -q "$wanted" status; do
  tries=$((tries + 1)); [ $tries -lt 100 ] || break; sleep 0.1
done
agent doctor > doctor
kill $daemon; wait $daemon`;
  const program = bench.startInGuest(['sh', '-c', script, 'sh', directory, process.execPath, MAIN, wanted], {
    rewrite: ['chr-agent.node'],
  });
  expect({ status: await program.ended, output: program.output() }).toEqual({ status: 0, output: '' });
  const names = ['detect', 'doctor-alone', 'status', 'doctor'];
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(directory, name), 'utf8')]));
}

describe.skipIf(missing !== undefined)('detection', () => {
  it('switches vmtools on in a VMware machine', async () => {
    await using bench = await startVmxBench();
    const said = await look(bench, 'vmtools *connected');
    expect(said.detect).toMatch(/^hypervisor: vmware\n/);
    expect(said.detect).toMatch(/^CPUID 0x40000000 +VMwareVMware +VMware$/m);
    expect(said.detect).toMatch(/^vmtools +yes +the hypervisor is VMware$/m);
    expect(said.status).toMatch(/^hypervisor +vmware$/m);
    expect(said.status).toMatch(/^vmtools +connected +backdoor$/m);
    expect(said.status).toMatch(/^qemu-ga +off +no guest agent port, and the hypervisor is vmware$/m);
    expect(said['doctor-alone']).toMatch(/^ok +the backdoor to the VMware host is open$/m);
    expect(said.doctor).toMatch(/^ok +vmtools: connected, backdoor$/m);
    expect(bench.vmx.channels.open()).toEqual([]);
  });

  it('tells of a host that does not answer', async () => {
    await using bench = await startVmxBench();
    bench.vmx.channels.inject({ step: 'OPEN', status: 0, times: Number.POSITIVE_INFINITY });
    const said = await look(bench, 'vmtools *waiting');
    expect(said.status).toMatch(/^vmtools +waiting +backdoor: the host does not answer, asked again$/m);
    expect(said.doctor).toMatch(
      /^warning +vmtools: waiting, backdoor: the host does not answer, asked again$/m,
    );
  });

  it('leaves it off where CPUID names another hypervisor', async () => {
    await using bench = await startVmxBench({ cpuid: { vendor: 'KVMKVMKVM' } });
    const said = await look(bench, 'vmtools');
    expect(said.status).toMatch(/^vmtools +off +the hypervisor is kvm$/m);
    expect(bench.link.calls).toBe(0);
  });
});
