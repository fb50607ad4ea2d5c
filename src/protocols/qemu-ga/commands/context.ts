/** What the commands work with: given by the composition root, one for the service's life. */
import type { Guest } from '../../../guest/guest.ts';
import type { Log } from '../../../log.ts';
import type { NativeAddon } from '../../../native/index.ts';
import type { Quiescer } from '../../../quiesce/quiescer.ts';
import type { Jobs } from '../../../scripts/job.ts';
import type { ProgramOptions, RunningProgram } from '../../../scripts/program.ts';
import type { FileHandles } from '../file-handles.ts';

export interface QgaContext {
  /** `chr`: the documented behaviour of the appliance; `upstream`: as qemu-ga. */
  readonly compat: 'chr' | 'upstream';
  /** What guest-info reports. */
  readonly version: string;
  readonly native: NativeAddon;
  readonly log: Log;
  readonly guest: Guest;
  readonly quiescer: Quiescer;
  /** Whether file systems are frozen, or just about to be, by whichever protocol. */
  isFrozen(): boolean;
  readonly jobs: Jobs;
  readonly scriptTimeLimitMs: number;
  /** Starts a program as qemu-ga does (`upstream`). */
  startProgram(options: ProgramOptions): Promise<RunningProgram>;
  readonly programs: Map<number, RunningProgram>;
  readonly files: FileHandles;
  /** For guest-info. */
  listCommands(): { name: string; enabled: boolean; repliesOnSuccess: boolean }[];
}
