/**
 * A question to what may never answer: a file system or disk whose other end is gone. Each is asked on a thread of its own
 * (see the native addon) that can't be cancelled. So the answer is waited for only so long, what hangs is remembered and
 * not asked again until it has answered, and only a few may hang at a time.
 */
import type { Log } from '../log.ts';

export interface LimitedQuestion<Answer> {
  /** Begins the questions of one reply: they share one limit of time. Dispose of it when they are done. */
  series(): QuestionSeries<Answer>;
}

export interface QuestionSeries<Answer> extends Disposable {
  /** null: no answer within the limit, or it was known to hang. */
  ask(of: string): Promise<Answer | null>;
}

export interface LimitedQuestionOptions<Answer> {
  /** For the log: `the size` … */
  what: string;
  /** Must not throw or reject. */
  ask(of: string): Promise<Answer>;
  log: Log;
  limitMs?: number;
  mostHanging?: number;
}

const LIMIT_MS = 2_000;
const MOST_HANGING = 8;

export function createLimitedQuestion<Answer extends NonNullable<unknown>>(
  options: LimitedQuestionOptions<Answer>,
): LimitedQuestion<Answer> {
  const { what, log, limitMs = LIMIT_MS, mostHanging = MOST_HANGING } = options;
  const pending = new Map<string, Promise<Answer>>();
  /** Those of the pending ones that nobody waits for any more. */
  const hanging = new Set<string>();

  function pendingAnswer(of: string): Promise<Answer> {
    const known = pending.get(of);
    if (known !== undefined) return known;
    const answer = options.ask(of).finally(() => {
      pending.delete(of);
      if (hanging.delete(of)) log.info(`${of} answers again: ${what} can be told`);
    });
    pending.set(of, answer);
    return answer;
  }

  function giveUp(of: string): void {
    if (!pending.has(of) || hanging.has(of)) return;
    hanging.add(of);
    log.warning(`${of} does not answer within ${limitMs / 1000} s: ${what} is left out until it does`);
  }

  function series(): QuestionSeries<Answer> {
    let isOver = false;
    let end = () => {};
    const over = new Promise<null>((resolve) => {
      end = () => {
        isOver = true;
        resolve(null);
      };
    });
    const timer = setTimeout(end, limitMs);
    return {
      async ask(of) {
        if (isOver || hanging.has(of) || hanging.size >= mostHanging) return null;
        const answer = await Promise.race([pendingAnswer(of), over]);
        if (answer === null) giveUp(of);
        return answer;
      },
      [Symbol.dispose]() {
        clearTimeout(timer);
        end();
      },
    };
  }

  return { series };
}
