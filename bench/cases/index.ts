/** All cases, in the order in which they run. */
import type { BenchCase } from '../sides.ts';
import { capture, exec } from './exec.ts';
import { file } from './file.ts';
import { idle } from './idle.ts';
import { jobs } from './jobs.ts';
import { memory } from './memory.ts';
import { ping } from './ping.ts';
import { shaper } from './shaper.ts';
import { startup } from './startup.ts';
import { vmtools } from './vmtools.ts';
import { vmtoolsPrograms } from './vmtools-programs.ts';
import { xenstore } from './xenstore.ts';

export const CASES: readonly BenchCase[] = [
  ping,
  file,
  exec,
  capture,
  startup,
  jobs,
  memory,
  idle,
  shaper,
  xenstore,
  vmtools,
  vmtoolsPrograms,
];
