/** The license levels, from lowest to highest. Their rates are the shaper's business. */
export const LEVELS = ['free', 'p1', 'p10', 'p-unlimited'] as const;
export type Level = (typeof LEVELS)[number];
export type PaidLevel = Exclude<Level, 'free'>;

/** What the shaper sees of the license. */
export interface LevelSource {
  /**
   * Resolves when the stored license has been read and verified, a moment after the start (later if file systems are
   * frozen). Whoever lowers a limit that an earlier daemon left in place waits for it.
   */
  readonly loaded: Promise<void>;
  /** `free` until {@link LevelSource.loaded}, and for as long as nothing better was verified. */
  level(): Level;
  /** Calls back when {@link LevelSource.level} has changed; returns the way to stop that. */
  onLevelChange(listener: (level: Level) => void): () => void;
}

export function isLevel(word: string): word is Level {
  return (LEVELS as readonly string[]).includes(word);
}

export function isPaidLevel(word: string): word is PaidLevel {
  return isLevel(word) && word !== 'free';
}
