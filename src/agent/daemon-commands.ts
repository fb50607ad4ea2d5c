/** The subcommands that become the daemon: a bundle of their own, which the other ones do not load (scripts/bundle.mjs). */
import type { Subcommand } from './cli/command.ts';

export const run: Subcommand = async (...call) => (await import('./cli/run.ts')).run(...call);
export const qemuGa: Subcommand = async (...call) => (await import('./cli/qemu-ga.ts')).qemuGa(...call);
