/**
 * The embedded store as a program of its own, for trying things out: `node main.ts DIRECTORY [DOMAIN [xapi|xl]]` serves
 * DIRECTORY/socket (XENSTORED_PATH of the xenstore-* programs) and DIRECTORY/domU-1.sock (`xenstore.path` of the agent).
 */
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { connectOver } from '../connection.ts';
import { buildDomain } from './domain.ts';
import { startStore } from './server.ts';

const [directory, domainText = '1', layout = 'xapi'] = process.argv.slice(2);
const domain = Number(domainText);
if (directory === undefined || !Number.isInteger(domain) || domain < 1 || !['xapi', 'xl'].includes(layout)) {
  console.error('usage: main.ts DIRECTORY [DOMAIN [xapi|xl]]');
  process.exit(2);
}

mkdirSync(directory, { recursive: true });
const store = await startStore(directory);
const log = { error: console.error, warning: console.error, info: console.error, debug: () => {} };
const toolstack = connectOver(connect(store.toolstackSocket), { log });
await buildDomain(toolstack, domain, { layout: layout === 'xl' ? 'xl' : 'xapi' });
toolstack.close();
store.introduce(domain);
console.log(`socket=${store.toolstackSocket}`);
console.log(`guest=${store.guestSocket(domain)}`);

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    store.close().then(() => process.exit(0));
  });
