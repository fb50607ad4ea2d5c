/**
 * One line per event on stderr, with journald's `<N>` priority prefix (sd-daemon(3)). While file systems are frozen
 * nothing is written (stderr may lead to a journal on the frozen disk): lines wait in memory, a bounded number.
 */
import { writeSync } from 'node:fs';
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { Log } from '../log.ts';

export const LOG_LEVELS = ['error', 'warning', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** syslog(3) priorities. */
const PRIORITY: Record<LogLevel, number> = { error: 3, warning: 4, info: 6, debug: 7 };
/** Lines kept while frozen; older ones are dropped and counted. */
const MAX_HELD_LINES = 1000;

export interface LeveledLog extends Log {
  setLevel(level: LogLevel): void;
}

export function createLog(
  level: LogLevel,
  gate: FreezeGate,
  write: (line: string) => void = writeToStderr,
): LeveledLog {
  let threshold = PRIORITY[level];
  let held: string[] = [];
  let dropped = 0;

  gate.onThaw(() => {
    const lines = held;
    held = [];
    if (dropped > 0) lines.unshift(`<${PRIORITY.warning}>${dropped} log lines were dropped while frozen\n`);
    dropped = 0;
    for (const line of lines) write(line);
  });

  function emit(lineLevel: LogLevel, text: string): void {
    if (PRIORITY[lineLevel] > threshold) return;
    const line = `<${PRIORITY[lineLevel]}>${text.replaceAll(/[\r\n]+/g, ' | ')}\n`;
    if (!gate.frozen) return write(line);
    if (held.length >= MAX_HELD_LINES) {
      held.shift();
      dropped += 1;
    }
    held.push(line);
  }

  return {
    error: (text) => emit('error', text),
    warning: (text) => emit('warning', text),
    info: (text) => emit('info', text),
    debug: (text) => emit('debug', text),
    setLevel: (next) => {
      threshold = PRIORITY[next];
    },
  };
}

function writeToStderr(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // stderr is gone or would block: a lost log line must not stop the agent
  }
}
