import type { Log } from '../../src/log.ts';

/** A log that keeps its lines. */
export function recordingLog(): Log & { readonly lines: string[] } {
  const lines: string[] = [];
  const add = (level: string) => (text: string) => void lines.push(`${level}: ${text}`);
  return { lines, error: add('error'), warning: add('warning'), info: add('info'), debug: add('debug') };
}
