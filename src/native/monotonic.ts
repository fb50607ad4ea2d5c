/**
 * Milliseconds on a clock that never jumps. Not `performance.now()`: the first use of that global loads a module that costs
 * several milliseconds of the start-up.
 */
export function monotonicMs(): number {
  return process.uptime() * 1000;
}
