/** A log file as qemu-ga writes it (spec qemu-ga.md section 7): `SECONDS.MICROS: LEVEL: TEXT`, appended. */
import { openSync, writeSync } from 'node:fs';

const LEVELS: Readonly<Record<string, string>> = { 3: 'error', 4: 'warning', 6: 'info', 7: 'debug' };

/**
 * Opens the file for the life of the process and returns a sink for `createLog`'s lines (`<N>text\n`).
 * @param nowMs wall clock, ms since 1970
 * @throws the system's error if it cannot be opened
 */
export function openLogFile(path: string, nowMs: () => number = wallClockMs): (line: string) => void {
  const fd = openSync(path, 'a', 0o600);
  return (line) => {
    const level = LEVELS[line[1] ?? ''] ?? 'info';
    const text = line.replace(/^<\d>/, '');
    try {
      writeSync(fd, `${(nowMs() / 1000).toFixed(6)}: ${level}: ${text}`);
    } catch {
      // the disk is full: a lost log line must not stop the agent
    }
  };
}

function wallClockMs(): number {
  return performance.timeOrigin + performance.now();
}
