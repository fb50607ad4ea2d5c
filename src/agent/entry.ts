/** The process's entry: uses the compile cache that was made when the bundle was (scripts/warm-cache), then runs the command line. */
import { existsSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

const directory = join(import.meta.dirname, 'cache');
// only there if it was shipped: the sources have none, and none shall be made where the agent runs
if (existsSync(directory)) enableCompileCache({ directory, portable: true });
void import('./main.ts');
