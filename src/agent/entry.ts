/**
 * The process's entry: loads the bundles with the code cache that was made when they were (scripts/warm-cache).
 *
 * Not by Node's own compile cache: that makes its directory at every start, and mkdir(2) waits for the thaw on a frozen file
 * system, even for a directory that is there. A daemon that starts to thaw what was left frozen would wait for itself.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire, wrap } from 'node:module';
import { join } from 'node:path';
import { Script } from 'node:vm';

interface Bundle {
  readonly script: Script;
  readonly cacheFile: string;
  readonly module: { exports: unknown };
}

/** Only scripts/warm-cache sets it: at the end write what is compiled by then, together with what the cache had before. */
const makesCache = process.env.CHR_AGENT_MAKE_CODE_CACHE === '1';

const requireNative = createRequire(import.meta.filename);
const bundles = new Map<string, Bundle>();

/** What a bundle sees as `require`: other bundles are loaded the same way. */
function requireFrom(id: string): unknown {
  return id.startsWith('./') ? load(id.slice(2)) : requireNative(id);
}

function load(name: string): unknown {
  const known = bundles.get(name);
  if (known !== undefined) return known.module.exports;
  const filename = join(import.meta.dirname, name);
  const cacheFile = `${filename}.cache`;
  const cachedData = readIfThere(cacheFile);
  // V8 takes a cache only from the same version with the same flags, and compiles otherwise
  const script = withUsualFlags(
    () => new Script(wrap(readFileSync(filename, 'utf8')), { filename, ...(cachedData && { cachedData }) }),
  );
  const module = { exports: {} };
  bundles.set(name, { script, cacheFile, module });
  script.runInThisContext()(module.exports, requireFrom, module, filename, import.meta.dirname);
  return module.exports;
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

/** V8's marks of hot and cold functions depend on the machine's speed, and would be in the cache. */
const UNSTEADY_FLAGS = ['sparkplug', 'profile-guided-optimization', 'flush-bytecode'];

function setUnsteadyFlags(isOn: boolean): void {
  const { setFlagsFromString } = requireNative('node:v8') as typeof import('node:v8');
  for (const flag of UNSTEADY_FLAGS) setFlagsFromString(isOn ? `--${flag}` : `--no-${flag}`);
}

/** A cache is made for the flags of the moment when it is read or written, so these must be the daemon's. */
function withUsualFlags<T>(action: () => T): T {
  if (!makesCache) return action();
  setUnsteadyFlags(true);
  const result = action();
  setUnsteadyFlags(false);
  return result;
}

if (makesCache) {
  setUnsteadyFlags(false);
  process.on('exit', () => {
    setUnsteadyFlags(true);
    for (const { script, cacheFile } of bundles.values()) writeFileSync(cacheFile, script.createCachedData());
  });
}

load('main.cjs');
