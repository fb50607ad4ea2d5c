/** The service as a whole on C xenstored: what it leaves behind, quotas, freezing, and sockets with the habits of Linux's device. */
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../../support/test-store.ts';
import { startTestAgent, type TestAgent } from '../../support/xenstore-service.ts';
import {
  startXenstored,
  type Xenstored,
  type XenstoredOptions,
  xenstoredMissing,
} from '../../support/xenstored.ts';

const NODE = 'vm-data/provision/script';

let store: Xenstored;
let agent: TestAgent | null;
let domain: number;
beforeEach(() => {
  agent = null;
  domain = 3;
});
afterEach(async () => {
  await agent?.close();
  await store.stop();
});

const at = (path: string) => `/local/domain/${domain}/${path}`;
const text = (path: string): Promise<string | null> =>
  store.toolstack.read(at(path)).then(String, () => null);
const isText = (path: string, wanted: string) =>
  until(`${path} = ${wanted}; ${agent?.log.lines.join('; ')}`, async () => (await text(path)) === wanted);
const provide = (script: string) => store.toolstack.write(at(NODE), Buffer.from(script).toString('base64'));
const isOutput = (wanted: string) => isText(`${NODE}/output`, Buffer.from(wanted).toString('base64'));

async function up(options: XenstoredOptions = {}): Promise<void> {
  store = await startXenstored(options);
  await store.domainUp(domain, { layout: 'xapi' });
}

describe.skipIf(xenstoredMissing() !== undefined)('the xenstore service', () => {
  it.each([false, true])(
    'works through the habits of the xenbus device, and over a resume (old kernel: %s)',
    async (oldKernel) => {
      await up({ oldKernel });
      agent = startTestAgent(store.xenbusSocket(domain));
      await isText(`${NODE}/status`, 'ready');
      await provide('echo one');
      await isOutput('one\n');
      await store.resume(domain, 9, { layout: 'xapi' });
      domain = 9;
      await isText(`${NODE}/status`, 'ready');
      await until('the information', async () => (await text('data/updated')) !== null);
      await provide('echo two');
      await isOutput('two\n');
      expect(agent.log.lines.filter((line) => line.includes('a script runs'))).toHaveLength(2);
    },
  );

  it('leaves no descriptor, watch or timer behind', async () => {
    await up();
    agent = startTestAgent(store.guestSocket(domain));
    await isText(`${NODE}/status`, 'ready');
    await agent.stop();
    const open = readdirSync('/proc/self/fd').length;
    for (let count = 0; count < 3; count += 1) {
      agent.start();
      await provide(`echo ${count}`);
      await isOutput(`${count}\n`);
      await isText(`${NODE}/status`, 'ready');
      await agent.stop();
    }
    expect(readdirSync('/proc/self/fd').length).toBe(open);
    const before = store.trace().length;
    await provide('echo nobody is there');
    expect(store.trace().slice(before)).not.toContain('WATCH_EVENT');
  });

  it('goes on with one part when the store has no watch for the other, and says so once', async () => {
    await up({ args: ['-W', '0'] });
    agent = startTestAgent(store.guestSocket(domain));
    await until(
      'a part',
      async () => (await text('data/updated')) !== null || (await text(`${NODE}/status`)) !== null,
    );
    await until('a line', () => agent?.log.lines.some((line) => line.includes('cannot begin')) === true);
    expect(agent.log.lines.filter((line) => line.includes('cannot begin'))).toHaveLength(1);
  });

  it('asks the guest nothing and takes nothing while frozen, and does it after the thaw', async () => {
    await up();
    agent = startTestAgent(store.guestSocket(domain));
    await isText(`${NODE}/status`, 'ready');
    await until('the information', async () => (await text('data/updated')) !== null);
    await agent.gate.shut();
    await provide('echo after the thaw');
    const before = store.trace().length;
    const probe = at('data/os_name');
    for (let count = 0; count < 20; count += 1) await store.toolstack.write(probe, String(count));
    expect(await text(`${NODE}/status`)).toBe('ready');
    expect(store.trace().slice(before)).not.toMatch(/WRITE \(data\//);
    agent.gate.open();
    await isOutput('after the thaw\n');
  });
});
