/** The agent in a booted Debian guest, driven by real libvirt. environment.ts tells the switches. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { agentName, longRun, reasonToSkip, transcriptFile } from './environment.ts';
import { Guest } from './guest.ts';
import { note } from './libvirt.ts';
import { commandSuite } from './suites/commands.ts';
import { fileSuite } from './suites/files.ts';
import { rawChannelSuite } from './suites/raw-channel.ts';
import { scriptSuite, TIME_LIMIT_S } from './suites/scripts.ts';

const SHUTDOWN_LIMIT_MS = 120_000;

const config = `[scripts]
time-limit = ${TIME_LIMIT_S}
grace = 1
`;

const obstacle = reasonToSkip();
const title = `real guest, ${agentName}${obstacle === undefined ? '' : ` (skipped: ${obstacle})`}`;

describe.skipIf(obstacle !== undefined)(title, { timeout: 120_000 }, () => {
  let started: Guest | undefined;
  const guest = () => {
    if (started === undefined) throw new Error('the guest did not come up');
    return started;
  };

  beforeAll(async () => {
    started = await Guest.prepare(config);
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

  describe('shutdown', () => {
    it('guest-shutdown ends with the domain shut off', async () => {
      // no reply is due: virsh ends with an error when the guest goes, which is success here
      await guest()
        .agent('guest-shutdown', undefined, { timeoutS: 60 })
        .catch((error: unknown) => note(`no reply: ${error instanceof Error ? error.message : error}`));
      await guest().waitForShutOff(SHUTDOWN_LIMIT_MS);
    });

    it('virsh shutdown --mode agent ends with the domain shut off', { timeout: 400_000 }, async () => {
      await guest().boot(longRun ? 'systemd' : 'fast');
      expect(await guest().agent('guest-ping')).toEqual({});
      await guest().virsh('shutdown', '--mode', 'agent');
      await guest().waitForShutOff(SHUTDOWN_LIMIT_MS);
      expect(await guest().virsh('domstate')).toBe('shut off');
    });
  });
});
