import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createPacer, createRepairBudget } from '../../../src/shaper/pacing.ts';

describe('the pacer', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('runs on the leading edge, and a burst becomes one more run', () => {
    const runs: number[] = [];
    const start = performance.now();
    const pacer = createPacer(50, () => runs.push(performance.now() - start));
    pacer.request();
    vi.advanceTimersByTime(1);
    for (let at = 0; at < 20; at += 1) {
      pacer.request();
      vi.advanceTimersByTime(1);
    }
    vi.advanceTimersByTime(200);
    expect(runs).toHaveLength(2);
    expect((runs[1] ?? 0) - (runs[0] ?? 0)).toBeGreaterThanOrEqual(50);
  });

  it('takes the earlier of two times', () => {
    const work = vi.fn();
    const pacer = createPacer(50, work);
    pacer.requestIn(1000);
    pacer.request();
    vi.advanceTimersByTime(5);
    expect(work).toHaveBeenCalledTimes(1);
  });

  it('does nothing once closed', () => {
    const work = vi.fn();
    const pacer = createPacer(50, work);
    pacer.request();
    pacer.close();
    pacer.request();
    vi.advanceTimersByTime(500);
    expect(work).not.toHaveBeenCalled();
  });
});

describe('the repair budget', () => {
  it('allows ten at once, then slows down to one in 30 s', () => {
    let nowMs = 0;
    const budget = createRepairBudget(() => nowMs);
    for (let repair = 0; repair < 10; repair += 1) expect(budget.ask('a')).toEqual({ kind: 'now' });
    expect(budget.ask('a')).toEqual({ kind: 'later', delayMs: 1000, isFirst: true });
    expect(budget.ask('a')).toEqual({ kind: 'later', delayMs: 1000, isFirst: false });
    // another interface is not concerned
    expect(budget.ask('b')).toEqual({ kind: 'now' });
    const waits: number[] = [];
    for (let round = 0; round < 7; round += 1) {
      let permission = budget.ask('a');
      let waited = 0;
      while (permission.kind === 'later') {
        waited += permission.delayMs;
        nowMs += permission.delayMs;
        permission = budget.ask('a');
      }
      waits.push(waited);
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  });

  it('forgets a fight that is over', () => {
    let nowMs = 0;
    const budget = createRepairBudget(() => nowMs);
    for (let repair = 0; repair < 11; repair += 1) budget.ask('a');
    nowMs += 60_000;
    for (let repair = 0; repair < 10; repair += 1) expect(budget.ask('a')).toEqual({ kind: 'now' });
    budget.keep(new Set());
    expect(budget.ask('a')).toEqual({ kind: 'now' });
  });
});
