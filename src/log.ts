/** What every module sees of the log; `agent/log.ts` is the one that writes. */
export interface Log {
  error(text: string): void;
  warning(text: string): void;
  info(text: string): void;
  debug(text: string): void;
}
