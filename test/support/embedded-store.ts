/** The project's own store on sockets in a folder of its own (src/protocols/xenstore/store). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildDomain, removeDomain } from '../../src/protocols/xenstore/store/domain.ts';
import { startStore } from '../../src/protocols/xenstore/store/server.ts';
import { connectTo, type TestStore } from './test-store.ts';

export async function startEmbeddedStore(): Promise<TestStore> {
  const directory = mkdtempSync(join(tmpdir(), 'xs-embedded-'));
  const store = await startStore(directory);
  const toolstack = connectTo(store.toolstackSocket);
  return {
    toolstackSocket: store.toolstackSocket,
    toolstack,
    async domainUp(id, options) {
      const uuid = await buildDomain(toolstack, id, options);
      store.introduce(id);
      return uuid;
    },
    async resume(from, to, options) {
      await buildDomain(toolstack, to, options);
      store.introduce(to);
      store.rebind(from, to);
      store.release(from);
      await removeDomain(toolstack, from);
    },
    async domainDown(id) {
      store.release(id);
      await removeDomain(toolstack, id);
    },
    guestSocket: store.guestSocket,
    xenbusSocket: store.guestSocket,
    async stop() {
      toolstack.close();
      await store.close();
      rmSync(directory, { recursive: true });
    },
  };
}
