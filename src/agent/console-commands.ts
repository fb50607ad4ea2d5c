/** The subcommands of the console: a bundle of their own, which the daemon does not load (scripts/bundle.mjs). */
import type { Subcommand } from './cli/command.ts';

export const consoleCommands: Readonly<Record<string, () => Promise<Subcommand>>> = {
  status: async () => (await import('./cli/status.ts')).status,
  'freeze-status': async () => (await import('./cli/freeze-status.ts')).freezeStatus,
  jobs: async () => (await import('./cli/jobs.ts')).jobs,
  doctor: async () => (await import('./cli/doctor.ts')).doctor,
  detect: async () => (await import('./cli/detect.ts')).detect,
  license: async () => (await import('./cli/license.ts')).license,
  shaper: async () => (await import('./cli/shaper.ts')).shaper,
  scripts: async () => (await import('./cli/scripts.ts')).scripts,
  config: async () => (await import('./cli/config.ts')).config,
  rpctool: async () => (await import('./cli/rpctool.ts')).rpctool,
  install: async () => (await import('./install-commands.ts')).install,
  uninstall: async () => (await import('./install-commands.ts')).uninstall,
  version: async () => (await import('./cli/version.ts')).version,
  help: async () => (await import('./cli/help.ts')).help,
};
