// A Xen toolstack in 40 lines: writes a script to the store (the socket's path is the argument), waits for its end, prints its output.
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connectOver } from '../src/protocols/xenstore/connection.ts';

const TIME_LIMIT_MS = 150_000;
const NODE = '/local/domain/1/vm-data/provision/script';
const SCRIPT = 'echo "hello from the script of domain 1"\n';

const [socketPath] = process.argv.slice(2);
if (socketPath === undefined) {
  console.error('usage: demo-provision.ts SOCKET');
  process.exit(2);
}

const log = { error: console.error, warning: console.error, info: console.error, debug: () => {} };
const store = connectOver(connect(socketPath), { log });
const read = async (path: string) => (await store.read(path)).toString();

async function waitForStatus(wanted: (status: string) => boolean): Promise<string> {
  for (const end = Date.now() + TIME_LIMIT_MS; Date.now() < end; await delay(100)) {
    const status = await read(`${NODE}/status`).catch(() => '');
    if (wanted(status)) return status;
  }
  throw new Error(`${NODE}/status says nothing`);
}

try {
  await waitForStatus((status) => status !== '' && status !== 'running');
  const value = Buffer.from(SCRIPT).toString('base64');
  console.log(`> xenstore-write ${NODE} ${value}`);
  await store.write(NODE, value);
  // taken when the node is empty again
  while ((await read(NODE)) !== '') await delay(50);
  const status = await waitForStatus((each) => each !== 'running');
  const output = Buffer.from(await read(`${NODE}/output`), 'base64').toString();
  console.log(`< status ${status}, output:`);
  console.log(output.trimEnd().replace(/^/gm, '| '));
} catch (error) {
  console.error(`demo-provision: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
store.close();
