// Makes a code cache again from what is in it, so that the same functions give the same bytes: V8 numbers functions in the order
// in which they were compiled, and that differs from run to run. Here nothing else happens.
//   settle-cache.mjs BUNDLE     with the flags of bin/chr-agent; reads and replaces BUNDLE.cache
import { readFileSync, writeFileSync } from 'node:fs';
import Module from 'node:module';
import { Script } from 'node:vm';

const [bundle] = process.argv.slice(2);
const cacheFile = `${bundle}.cache`;
const script = new Script(Module.wrap(readFileSync(bundle, 'utf8')), {
  filename: bundle,
  cachedData: readFileSync(cacheFile),
});
if (script.cachedDataRejected) throw new Error(`${cacheFile} is not for this Node.js and these flags`);
writeFileSync(cacheFile, script.createCachedData());
