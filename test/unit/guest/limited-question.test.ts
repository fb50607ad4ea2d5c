import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLimitedQuestion } from '../../../src/guest/limited-question.ts';
import { recordingLog } from '../../support/quiet-log.ts';

/** Answers are given by hand. */
function scene(mostHanging = 2) {
  const log = recordingLog();
  const asked: string[] = [];
  const answers = new Map<string, (answer: string) => void>();
  const question = createLimitedQuestion<string>({
    what: 'its size',
    ask: (of) => {
      asked.push(of);
      return new Promise((resolve) => answers.set(of, resolve));
    },
    log,
    limitMs: 2_000,
    mostHanging,
  });
  return { log, asked, question, answer: (of: string) => answers.get(of)?.(`answer of ${of}`) };
}

describe('a question with a limit', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => {
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  });

  it('gives the answer', async () => {
    const { question, answer, log } = scene();
    using series = question.series();
    const waiting = series.ask('a');
    answer('a');
    expect(await waiting).toBe('answer of a');
    expect(log.lines).toEqual([]);
  });

  it('gives null after the limit, which a series has once', async () => {
    const { question, asked, log } = scene();
    using series = question.series();
    const waiting = series.ask('a');
    await vi.advanceTimersByTimeAsync(1_999);
    const later = series.ask('b');
    await vi.advanceTimersByTimeAsync(1);
    expect(await waiting).toBeNull();
    expect(await later).toBeNull();
    expect(await series.ask('c')).toBeNull();
    expect(asked).toEqual(['a', 'b']);
    expect(log.lines).toEqual([
      'warning: a does not answer within 2 s: its size is left out until it does',
      'warning: b does not answer within 2 s: its size is left out until it does',
    ]);
  });

  it('is not asked again while it hangs, and again afterwards', async () => {
    const { question, asked, answer, log } = scene();
    {
      using series = question.series();
      const waiting = series.ask('a');
      await vi.advanceTimersByTimeAsync(2_000);
      await waiting;
    }
    {
      using series = question.series();
      expect(await series.ask('a')).toBeNull();
    }
    expect(asked).toEqual(['a']);
    answer('a');
    await vi.advanceTimersByTimeAsync(0);
    expect(log.lines.at(-1)).toBe('info: a answers again: its size can be told');
    using series = question.series();
    const waiting = series.ask('a');
    answer('a');
    expect(await waiting).toBe('answer of a');
    expect(asked).toEqual(['a', 'a']);
  });

  it('is asked once for two that want to know', async () => {
    const { question, asked, answer } = scene();
    using first = question.series();
    using second = question.series();
    const waiting = [first.ask('a'), second.ask('a')];
    answer('a');
    expect(await Promise.all(waiting)).toEqual(['answer of a', 'answer of a']);
    expect(asked).toEqual(['a']);
  });

  it('is not asked of more when some hang', async () => {
    const { question, asked } = scene(2);
    {
      using series = question.series();
      const waiting = ['a', 'b'].map((of) => series.ask(of));
      await vi.advanceTimersByTimeAsync(2_000);
      await Promise.all(waiting);
    }
    using series = question.series();
    expect(await series.ask('c')).toBeNull();
    expect(asked).toEqual(['a', 'b']);
  });
});
