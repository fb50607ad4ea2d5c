/** Builds the quiescer out of the daemon's parts, in two steps: what was left frozen has to be thawed before anything is written. */
import { join } from 'node:path';
import type { FreezeGateControl } from '../guest/freeze-gate.ts';
import type { Guest } from '../guest/guest.ts';
import { readMounts } from '../guest/mounts.ts';
import { createProgramRunner } from '../guest/program.ts';
import type { Log } from '../log.ts';
import type { NativeAddon } from '../native/index.ts';
import { startGuard } from '../quiesce/guard.ts';
import { programHooks, scriptHooks } from '../quiesce/hooks.ts';
import { createMarkerFile } from '../quiesce/marker.ts';
import { createQuiescer, type Quiescer } from '../quiesce/quiescer.ts';
import { thawLeftFrozen } from '../quiesce/rescue.ts';
import type { Hooks } from '../scripts/hooks.ts';
import type { Config } from './config.ts';

export interface QuiescingOptions {
  native: NativeAddon;
  log: Log;
  gate: FreezeGateControl;
  guest: Pick<Guest, 'actions'>;
  helperPath: string;
  /** The configuration in force. */
  config(): Config;
}

/** Thaws what an earlier daemon left frozen. @returns the second step, for when there are hook scripts */
export async function openQuiescing(options: QuiescingOptions): Promise<(hooks: Hooks) => Quiescer> {
  const { native, log, gate, guest, helperPath, config } = options;
  const { agent, qemuGa } = config();
  const name = qemuGa.compat === 'upstream' ? 'qga.state.isfrozen' : 'freeze.state';
  const marker = createMarkerFile(join(agent.runtimeDir, name), gate);
  const parts = {
    log,
    gate,
    marker,
    readMounts: () => readMounts(),
    startGuard: (timeLimitMs: number) =>
      startGuard({ native, actions: guest.actions, helperPath, timeLimitMs }),
  };
  const left = await thawLeftFrozen(parts);

  return (hooks) => {
    const ourScripts = scriptHooks(hooks);
    const run = createProgramRunner(native);
    return createQuiescer({
      ...parts,
      left,
      policy(owner) {
        const now = config();
        const isUpstream = owner === 'qemu-ga' && now.qemuGa.compat === 'upstream';
        return {
          hooks: isUpstream ? programHooks(now.qemuGa.fsfreezeHook, run, log) : ourScripts,
          timeLimitMs: now.freeze.timeLimitMs,
        };
      },
      mayFreeze: (action, mount) => guest.actions.mayFreeze(action, mount),
      errorText: (errno) => native.errorText(errno),
    });
  };
}
