// The bytes of backup events, the sign of life, and raised privilege: spec vmware.md section 8.
import { describe, expect, it } from 'vitest';
import { createBackupEvents } from '../../../../src/protocols/vmtools/backup/events.ts';
import { RpcRefused } from '../../../../src/protocols/vmtools/channel-errors.ts';
import { recordingLog } from '../../../support/quiet-log.ts';
import { virtualClock } from '../../../support/virtual-clock.ts';

function bench(answer: (request: string, privileged: boolean) => void = () => undefined) {
  const sent: [string, boolean][] = [];
  const clock = virtualClock(0);
  let forgotten = 0;
  const events = createBackupEvents({
    rpci: {
      async request(request, { privileged = false } = {}) {
        sent.push([String(request), privileged]);
        answer(String(request), privileged);
        return Buffer.alloc(0);
      },
    },
    log: recordingLog(),
    setTimer: clock.setTimer,
    onForgotten: () => {
      forgotten += 1;
    },
  });
  const settled = () => new Promise<void>((resolve) => setImmediate(resolve));
  return {
    events,
    sent,
    texts: () => sent.map(([text]) => text),
    advance: (ms: number) => clock.advance(ms, settled),
    timers: () => clock.timers,
    forgotten: () => forgotten,
  };
}

const refuse = (reason: string) => {
  throw new RpcRefused(Buffer.from(reason));
};

describe('backup events', () => {
  it('have a blank before an empty text', async () => {
    const { events, texts } = bench();
    expect(await events.send('reset')).toBe(true);
    await events.send('req.aborted', 4, 'Quiesce canceled.');
    await events.finish();
    expect(texts()).toEqual([
      'vmbackup.eventSet reset 0 ',
      'vmbackup.eventSet req.aborted 4 Quiesce canceled.',
      'vmbackup.eventSet req.done 0 ',
    ]);
  });

  it('keep the host waiting every 2.5 s, until the last one', async () => {
    const { events, texts, advance, timers } = bench();
    await events.send('reset');
    await advance(2_499);
    expect(texts()).toHaveLength(1);
    await advance(2_501);
    expect(texts().slice(1)).toEqual(Array(2).fill('vmbackup.eventSet req.keepAlive 0 '));
    await advance(1_000);
    await events.send('prov.snapshotCommit');
    await advance(2_000);
    expect(texts()).toHaveLength(4);
    await events.finish();
    expect(timers()).toBe(0);
    await advance(10_000);
    expect(texts().at(-1)).toBe('vmbackup.eventSet req.done 0 ');
  });

  it('tell when the host takes them no more', async () => {
    const { events, advance, forgotten, timers } = bench((text) => {
      if (text.includes('keepAlive')) refuse('no backup');
    });
    await events.send('reset');
    await advance(2_500);
    expect(forgotten()).toBe(1);
    expect(timers()).toBe(0);
  });

  it('of which one is refused count as not taken', async () => {
    const { events, timers } = bench(() => refuse(''));
    expect(await events.send('reset')).toBe(false);
    expect(timers()).toBe(0);
  });

  it('are repeated with privilege where the host wants it, and keep it', async () => {
    const { events, sent } = bench((_text, privileged) => {
      if (!privileged) refuse('Guest is not privileged to send this message');
    });
    expect(await events.send('reset')).toBe(true);
    expect(await events.send('prov.snapshotCommit')).toBe(true);
    expect(sent.map(([, privileged]) => privileged)).toEqual([false, true, true]);
  });
});
