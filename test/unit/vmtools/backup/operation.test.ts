// Races of one quiesce operation that no host can bring about at will: spec vmware.md section 8.
import { describe, expect, it } from 'vitest';
import { startOperation } from '../../../../src/protocols/vmtools/backup/operation.ts';
import type { SyncProvider } from '../../../../src/protocols/vmtools/backup/providers.ts';
import { QuiesceError } from '../../../../src/quiesce/errors.ts';
import type { QuiesceHooks } from '../../../../src/quiesce/hooks.ts';
import { recordingLog } from '../../../support/quiet-log.ts';

function bench(provider: (hooks: QuiesceHooks) => SyncProvider) {
  const sent: string[] = [];
  const ran: string[] = [];
  let thawedMeanwhile = false;
  const thawed = Promise.withResolvers<void>();
  const operation = startOperation({
    events: {
      async send(name, code = 0, text = '') {
        sent.push(`${name} ${code} ${text}`);
        return true;
      },
      async finish() {
        sent.push('req.done');
      },
      close: () => undefined,
    },
    hooks: {
      async freeze() {
        ran.push('freeze');
        return null;
      },
      async freezeFailed() {
        ran.push('freeze-fail');
      },
      async thaw() {
        ran.push('thaw');
        return null;
      },
    },
    provider,
    whenThawed: () => thawed.promise,
    wasThawedMeanwhile: () => thawedMeanwhile,
    onThaw: () => () => undefined,
    manifest: null,
    timeLimitMs: 60_000,
    reportsThawHook: false,
    setTimer: () => () => undefined,
    log: recordingLog(),
  });
  return {
    operation,
    sent,
    ran,
    /** Everything is thawed. */
    thaw(meanwhile: boolean) {
      thawedMeanwhile = meanwhile;
      thawed.resolve();
    },
  };
}

const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
const ABORTED = 'req.aborted 4 Quiesce canceled.';

describe('a quiesce operation', () => {
  it('is no success when the guard thaws just before the host’s snapshotDone', async () => {
    const { operation, sent, ran, thaw } = bench((hooks) => ({
      freeze: async () => 1,
      async thaw() {
        thaw(true);
        await hooks.freezeFailed('later');
        throw new QuiesceError('thawed-meanwhile', 'thawed by the guard');
      },
    }));
    await settle();
    expect((await operation.snapshotDone()).ok).toBe(false);
    await operation.ended;
    expect(sent).toEqual(['prov.snapshotCommit 0 ', ABORTED, 'req.done']);
    expect(ran).toEqual(['freeze-fail']);
  });

  it('tells a failure once, however often it is cancelled', async () => {
    const { operation, sent, ran } = bench((hooks) => ({
      freeze: async () => 1,
      async thaw() {
        await hooks.thaw();
      },
    }));
    await settle();
    await Promise.all([operation.cancel('host'), operation.cancel('time-limit'), operation.cancel('host')]);
    await operation.ended;
    expect(sent).toEqual(['prov.snapshotCommit 0 ', ABORTED, 'req.done']);
    expect(ran).toEqual(['freeze-fail']);
    await operation.cancel('host');
  });

  it('commits nothing that was cancelled as the freeze ended', async () => {
    const freezing = Promise.withResolvers<number>();
    const { operation, sent } = bench((hooks) => ({
      freeze: () => freezing.promise,
      async thaw() {
        await hooks.thaw();
      },
    }));
    const cancelled = operation.cancel('host');
    freezing.resolve(1);
    await cancelled;
    await operation.ended;
    expect(sent).toEqual([ABORTED, 'req.done']);
  });

  it('ends also after an error that nobody expects', async () => {
    const { operation, sent } = bench(() => ({
      freeze: async () => {
        throw new TypeError('a bug');
      },
      thaw: async () => undefined,
    }));
    await operation.ended;
    expect(sent).toEqual(['req.error 3 Error when enabling the sync provider.', 'req.done']);
  });
});
