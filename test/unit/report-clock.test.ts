import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createReportClock, REPORT_INTERVAL_MS } from '../../src/report-clock.ts';

describe('the 30 s clock', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('ticks for all listeners, until they stop', () => {
    const clock = createReportClock();
    const ticks: string[] = [];
    const stopFirst = clock.onTick(() => ticks.push('first'));
    const stopSecond = clock.onTick(() => ticks.push('second'));
    vi.advanceTimersByTime(REPORT_INTERVAL_MS);
    stopFirst();
    vi.advanceTimersByTime(REPORT_INTERVAL_MS);
    expect(ticks).toEqual(['first', 'second', 'second']);
    stopSecond();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('has no timer without a listener', () => {
    const clock = createReportClock();
    expect(vi.getTimerCount()).toBe(0);
    clock.onTick(() => undefined)();
    expect(vi.getTimerCount()).toBe(0);
  });
});
