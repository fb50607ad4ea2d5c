import { describe, expect, it } from 'vitest';
import { createRounds, RoundOutdated } from '../../../src/protocols/xenstore/rounds.ts';
import { XenstoreError, XenstoreGone } from '../../../src/protocols/xenstore/xenstore.ts';
import { recordingLog } from '../../support/quiet-log.ts';

const turn = () => new Promise((resolve) => setTimeout(resolve, 5));

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries += 1) {
    if (tries > 1_000) throw new Error('waited in vain');
    await turn();
  }
}

describe('rounds', () => {
  it('come one by one, and wishes during one make one more', async () => {
    let open = Promise.withResolvers<void>();
    let begun = 0;
    let inside = 0;
    const rounds = createRounds({
      name: 'test',
      log: recordingLog(),
      async round() {
        begun += 1;
        inside += 1;
        expect(inside).toBe(1);
        await open.promise;
        inside -= 1;
      },
    });
    rounds.wake();
    for (let count = 0; count < 5; count += 1) rounds.wake();
    expect(begun).toBe(1);
    const first = open;
    open = Promise.withResolvers();
    first.resolve();
    await until(() => begun === 2);
    open.resolve();
    await turn();
    expect(begun).toBe(2);
    await rounds.stop(1_000);
    rounds.wake();
    await turn();
    expect(begun).toBe(2);
  });

  it('are repeated after an error, which is logged once', async () => {
    const log = recordingLog();
    let begun = 0;
    const rounds = createRounds({
      name: 'test',
      log,
      firstRetryMs: 1,
      async round() {
        begun += 1;
        if (begun < 4) throw new XenstoreError('EIO', 'x');
      },
    });
    rounds.wake();
    await until(() => begun === 4);
    await turn();
    expect(begun).toBe(4);
    expect(log.lines).toEqual(['warning: test: x: EIO']);
    await rounds.stop(1_000);
  });

  it('come at once when what they looked at has changed, and wait for the connection when it is gone', async () => {
    const log = recordingLog();
    let begun = 0;
    const rounds = createRounds({
      name: 'test',
      log,
      firstRetryMs: 1,
      async round() {
        begun += 1;
        throw begun < 3 ? new RoundOutdated() : new XenstoreGone();
      },
    });
    rounds.wake();
    await until(() => begun === 3);
    await turn();
    expect(begun).toBe(3);
    rounds.wake();
    await until(() => begun === 4);
    expect(log.lines).toEqual([]);
    await rounds.stop(1_000);
  });

  it('that hang do not hold up the end', async () => {
    const rounds = createRounds({
      name: 'test',
      log: recordingLog(),
      round: () => new Promise(() => undefined),
    });
    rounds.wake();
    await rounds.stop(10);
  });
});
