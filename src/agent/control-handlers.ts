/** What the control socket's requests do with the parts of the daemon. */
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { LicenseService } from '../license/service.ts';
import { HOOK_NAMES, type HookSettings } from '../scripts/hook-settings.ts';
import type { ScriptEngine } from '../scripts/jobs.ts';
import type { ControlHandlers } from './control.ts';
import type { JobSummary } from './control-messages.ts';

export function hookHandlers(settings: HookSettings, gate: FreezeGate): ControlHandlers {
  return {
    scripts: () => HOOK_NAMES.map((name) => ({ name, enabled: settings.isEnabled(name) })),
    'scripts-set': async ({ names, enabled }) => {
      const saved = settings.setEnabled(names, enabled);
      if (gate.frozen) return { saved: false };
      await saved;
      return { saved: true };
    },
  };
}

export function licenseHandlers(license: LicenseService): ControlHandlers {
  const done = (): null => null;
  return {
    license: async () => {
      await license.loaded;
      return license.report();
    },
    'license-renew': (request) => license.renew(request).then(done),
    'license-import': (file) => license.importToken(file).then(done),
    'license-new-id': () => license.generateNewId(),
  };
}

export function jobSummaries(scripts: ScriptEngine): JobSummary[] {
  return scripts.list().map(({ pid, origin, startedAtMs, status, output }) => ({
    pid,
    origin,
    startedAt: new Date(startedAtMs).toISOString(),
    state: status.state === 'running' ? 'running' : status.outcome.kind,
    outputBytes: output.sizeBytes,
  }));
}
