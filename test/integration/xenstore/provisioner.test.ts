/** Provisioning against the unchanged C xenstored, with a domain's permissions as XAPI and xl give them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DomainOptions, TestStore } from '../../support/test-store.ts';
import { until } from '../../support/test-store.ts';
import { startTestAgent, type TestAgent } from '../../support/xenstore-service.ts';
import { startXenstored, xenstoredMissing } from '../../support/xenstored.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');
const NODE = 'vm-data/provision/script';
const FALLBACK = 'data/provision/script';

let store: TestStore;
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
const decoded = async (path: string) => Buffer.from((await text(path)) ?? '', 'base64').toString();
const provide = (script: string) => store.toolstack.write(at(NODE), base64(script));
const isText = (path: string, wanted: string | null) =>
  until(`${path} = ${wanted}; ${agent?.log.lines.join('; ')}`, async () => (await text(path)) === wanted);
/** A script that leaves a mark for each run. */
const counting = (what = 'run') => `echo ${what} >> ${agent?.directory}/count; echo done ${what}`;
function count(): number {
  try {
    return readFileSync(join(agent?.directory ?? '', 'count'), 'utf8').split('\n').length - 1;
  } catch {
    return 0;
  }
}
const lines = (part: string) => agent?.log.lines.filter((line) => line.includes(part));

async function up(options: DomainOptions, args: string[] = []): Promise<void> {
  store = await startXenstored({ args });
  await store.domainUp(domain, options);
}

async function resume(options: DomainOptions): Promise<void> {
  await store.resume(domain, domain + 4, options);
  domain += 4;
}

/** Asks for something else and sees the answer: everything before has been dealt with. */
async function settled(place: string): Promise<void> {
  const before = count();
  await provide(counting('probe'));
  await until(`the probe; ${agent?.log.lines.join('; ')}`, () => count() === before + 1);
  await isText(`${place}/status`, 'ready');
}

describe.skipIf(xenstoredMissing() !== undefined)('XAPI', () => {
  const layout = 'xapi';

  it('runs what is written, again and again', async () => {
    await up({ layout });
    agent = startTestAgent(store.guestSocket(domain));
    await isText(`${NODE}/status`, 'ready');
    for (const runs of [1, 2, 3]) {
      await provide(counting());
      await until('a run', () => count() === runs);
      await isText(`${NODE}/status`, 'ready');
    }
    expect(await text(NODE)).toBe('');
    expect(await decoded(`${NODE}/output`)).toBe('done run\n');
    expect(await decoded(`${NODE}/otuput`)).toBe('done run\n');
    expect(agent.log.lines.filter((line) => /^(error|warning)/.test(line))).toEqual([]);
  });

  it('runs a script that is there at boot once: restart, resume with it carried along, then anew on request', async () => {
    await up({ layout });
    const script = base64('echo at boot');
    await store.toolstack.write(at(NODE), script);
    agent = startTestAgent(store.guestSocket(domain));
    await until('the run', () => lines('a script runs')?.length === 1);
    await isText(`${NODE}/status`, 'ready');
    await agent.stop();
    agent.start();
    await isText(`${NODE}/status`, 'ready');
    await resume({ layout, xsdata: { [NODE]: script, [`${NODE}/status`]: 'ready' } });
    await isText(NODE, '');
    await settled(NODE);
    expect(lines('a script runs')).toHaveLength(2);
    await store.toolstack.write(at(NODE), script);
    await until('the run', () => lines('a script runs')?.length === 3);
    await isText(`${NODE}/status`, 'ready');
  });

  it('takes a script in pieces, and gives a long output back', async () => {
    await up({ layout });
    agent = startTestAgent(store.guestSocket(domain));
    await isText(`${NODE}/status`, 'ready');
    const script = base64(`${'# a long comment\n'.repeat(300)}seq 1 2000`);
    const pieces = script.match(/.{1,2000}/g) ?? [];
    for (const [index, piece] of pieces.entries()) await store.toolstack.write(at(`${NODE}/${index}`), piece);
    await store.toolstack.write(at(NODE), `pieces=${pieces.length}`);
    await until('output', async () => (await text(`${NODE}/output`)) !== null);
    const value = (await text(`${NODE}/output`)) ?? '';
    expect(value.length).toBe(2012);
    const output = await decoded(`${NODE}/output`);
    const file = join(agent.filesDir, 'provision-output.txt');
    expect(output.startsWith('1\n2\n3\n')).toBe(true);
    expect(output.endsWith(`\n[cut: 8893 bytes, all in ${file}]\n`)).toBe(true);
    expect(readFileSync(file, 'utf8').endsWith('\n1999\n2000\n')).toBe(true);
    expect(await store.toolstack.directory(at(NODE))).not.toContain('0');
  });

  it('refuses what is no script, and 4 KiB of it', async () => {
    await up({ layout });
    agent = startTestAgent(store.guestSocket(domain));
    await isText(`${NODE}/status`, 'ready');
    await store.toolstack.write(at(NODE), '*'.repeat(4000));
    await isText(`${NODE}/status`, 'error');
    expect(await decoded(`${NODE}/output`)).toBe('chr-agent: the script is not valid base64\n');
    await settled(NODE);
  });

  it('gives as much of the output as small nodes hold', async () => {
    await up({ layout }, ['-S', '700']);
    agent = startTestAgent(store.guestSocket(domain));
    await isText(`${NODE}/status`, 'ready');
    await provide('seq 1 300');
    await until('output', async () => ((await text(`${NODE}/output`)) ?? '').length === 500);
    await isText(`${NODE}/status`, 'ready');
  });

  it('writes its status again after the host has replaced vm-data, where it may not write any more', async () => {
    await up({ layout });
    agent = startTestAgent(store.guestSocket(domain));
    await isText(`${NODE}/status`, 'ready');
    await store.toolstack.remove(at('vm-data'));
    await provide(counting());
    await until('a run', () => count() === 1);
    await isText(`${FALLBACK}/status`, 'ready');
    expect(await decoded(`${FALLBACK}/output`)).toBe('done run\n');
    expect(lines('xenstore-chmod')).toHaveLength(1);
    // rm and the same again
    await store.toolstack.remove(at('vm-data'));
    await until('the removal', async () => (await text(NODE)) === null);
    await settled(FALLBACK);
    expect(count()).toBe(2);
  });
});

describe.skipIf(xenstoredMissing() !== undefined)('xl', () => {
  const layout = 'xl';

  it('runs what is written, once for each time that the node was empty before, and tells it elsewhere', async () => {
    await up({ layout });
    agent = startTestAgent(store.guestSocket(domain));
    await isText(`${FALLBACK}/status`, 'ready');
    await provide(counting());
    await until('a run', () => count() === 1);
    await isText(`${FALLBACK}/status`, 'ready');
    expect(await decoded(`${FALLBACK}/output`)).toBe('done run\n');
    expect(await text(`${NODE}/status`)).toBeNull();
    expect(lines('xenstore-chmod')).toEqual([
      expect.stringContaining('xenstore-chmod -r /local/domain/3/vm-data/provision/script n3'),
    ]);

    await provide(counting());
    await settled(FALLBACK);
    expect(count()).toBe(2);
    await provide(counting());
    await until('a run', () => count() === 3);
    await isText(`${FALLBACK}/status`, 'ready');
  });

  it('runs nothing for a chmod, and uses the real place from then on', async () => {
    await up({ layout });
    agent = startTestAgent(store.guestSocket(domain));
    await isText(`${FALLBACK}/status`, 'ready');
    await provide(counting());
    await until('a run', () => count() === 1);
    await isText(`${FALLBACK}/status`, 'ready');
    await store.toolstack.setPermissions(at(NODE), [`n${domain}`]);
    await isText(`${NODE}/status`, 'ready');
    await isText(NODE, '');
    await settled(NODE);
    expect(count()).toBe(2);
    expect(await decoded(`${FALLBACK}/output`)).toBe('done probe\n');
  });

  it('runs a carried script not again after a resume, and goes on with one that runs', async () => {
    await up({ layout });
    agent = startTestAgent(store.guestSocket(domain));
    await isText(`${FALLBACK}/status`, 'ready');
    const go = join(agent.directory, 'go');
    const script = `${counting()}; while [ ! -e ${go} ]; do sleep 0.05; done; echo late`;
    await provide(script);
    await until('a run', () => count() === 1);
    await resume({ layout, xsdata: { [NODE]: base64(script) } });
    await isText(`${FALLBACK}/status`, 'running');
    writeFileSync(go, '');
    await isText(`${FALLBACK}/status`, 'ready');
    expect(await decoded(`${FALLBACK}/output`)).toBe('done run\nlate\n');
    await settled(FALLBACK);
    expect(count()).toBe(2);
    expect(lines('was not accepted')).toEqual([]);
  });

  it('goes on after the store was restarted', async () => {
    const real = await startXenstored();
    store = real;
    await real.domainUp(domain, { layout: 'xapi' });
    agent = startTestAgent(real.guestSocket(domain));
    await isText(`${NODE}/status`, 'ready');
    await real.kill();
    await until('the loss', () => agent?.states.at(-1)?.startsWith('waiting') === true);
    await real.restart();
    await real.domainUp(domain, { layout: 'xapi' });
    await isText(`${NODE}/status`, 'ready');
    await provide(counting());
    await until('a run', () => count() === 1);
  });
});
