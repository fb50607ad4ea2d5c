import { afterAll, beforeAll, describe } from 'vitest';
import { agentConfig } from './agent-config.ts';
import { Guest } from './guest.ts';
import { quiesceSuite } from './suites/quiesce.ts';
import { quiesceGuardSuite } from './suites/quiesce-guard.ts';
import { quiesceHooksSuite } from './suites/quiesce-hooks.ts';

describe('wip', { timeout: 120_000 }, () => {
  let started: Guest | undefined;
  const guest = () => {
    if (started === undefined) throw new Error('the guest did not come up');
    return started;
  };
  beforeAll(async () => {
    started = await Guest.prepare(agentConfig());
    await started.boot('fast');
  });
  afterAll(async () => {
    const log = await started?.console.run('cat /var/log/agent.log').catch(() => undefined);
    (await import('node:fs')).writeFileSync('/tmp/agent.log', log?.output ?? '');
    await started?.close();
  });
  quiesceSuite(guest);
  quiesceGuardSuite(guest);
  quiesceHooksSuite(guest);
});
