/** The whole daemon in a network namespace: it limits what its configuration names, at the license's level (free here). */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ShaperStatus } from '../../../src/shaper/shaper-status.ts';
import { createNetworkLab, labIsPossible, type NetworkLab, until } from '../../support/network-lab.ts';

const program = new URL('../../../bin/chr-agent', import.meta.url).pathname;

let directory: string;
let lab: NetworkLab;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'shaper-'));
  lab = await createNetworkLab();
});
afterEach(async () => {
  await lab.close();
  rmSync(directory, { recursive: true });
});

const config = () => join(directory, 'agent.toml');

function configure(shaper: string): void {
  writeFileSync(
    config(),
    `[agent]\nruntime-dir = "${directory}/run"\nstate-dir = "${directory}/state"
[qemu-ga]\nenabled = false\n[vmtools]\nenabled = false\n[xenstore]\nenabled = false
[shaper]\n${shaper}\n`,
  );
}

const shown = () => lab.run('router', 'tc', 'qdisc', 'show', 'dev', lab.near);
const show = (...options: string[]) =>
  lab.run('router', program, 'shaper', 'show', '--config', config(), ...options);
const status = (): ShaperStatus => JSON.parse(show('--json'));

describe.skipIf(!labIsPossible)('chr-agent run', () => {
  it('limits, shows, leaves the limit when killed, and changes nothing at the next start', async () => {
    configure(`enabled = true\ninterfaces = ["${lab.near}"]`);
    const daemon = lab.start('router', program, ['run', '--config', config()]);
    await until(() => shown().startsWith('qdisc tbf c4a0: root'), shown);
    await until(() => isUp(), 'no control socket');
    expect(status()).toMatchObject({ state: 'on', level: 'free' });
    expect(show()).toMatch(
      new RegExp(`^level free\\nINTERFACE .*\\n${lab.near} +- +1 Mbit/s +\\d+ +0 +0 +(bfifo|fq_codel)`),
    );
    const exit = new Promise((resolve) => daemon.once('exit', resolve));
    daemon.kill('SIGKILL');
    await exit;
    const before = shown();
    expect(before).toContain('qdisc tbf c4a0: root');
    const { sentBytes } = lab.sent('router', lab.near);
    lab.start('router', program, ['run', '--config', config()]);
    await until(() => isUp(), 'no control socket');
    await until(() => status().state === 'on', 'the shaper is off');
    expect(shown()).toBe(before);
    // a new qdisc would count from 0
    expect(lab.sent('router', lab.near).sentBytes).toBeGreaterThanOrEqual(sentBytes);
  });

  it('does nothing when switched off, and says so', async () => {
    configure('enabled = false');
    lab.start('router', program, ['run', '--config', config()]);
    await until(() => isUp(), 'no control socket');
    await until(() => show().includes('switched off'), show);
    expect(show()).toBe('the shaper is off: switched off in the configuration\n');
    expect(shown()).not.toContain('tbf');
  });

  function isUp(): boolean {
    try {
      status();
      return true;
    } catch {
      return false;
    }
  }
});
