/** What the shaper tells of itself: to `chr-agent shaper show`, and to the log when something is not enforced. */
import type { Level } from '../license/levels.ts';
import type { Log } from '../log.ts';
import type { ShapedInterface } from './enforcement.ts';

export interface ShaperInterface extends ShapedInterface {
  /** null: the agent's own. */
  readonly namespace: string | null;
}

export type ShaperStatus =
  | { readonly state: 'off'; readonly why: string }
  | {
      readonly state: 'on';
      /** null: the license has not been read yet. */
      readonly level: Level | null;
      readonly interfaces: readonly ShaperInterface[];
      /** Network namespaces that could not be looked at, with the reason. */
      readonly unseen: readonly string[];
    };

/** Tells once of each interface that is not enforced, and again when the reason changes. */
export function createInterfaceLog(log: Log): { update(interfaces: readonly ShaperInterface[]): void } {
  let told = new Map<string, string>();
  return {
    update(interfaces) {
      const now = new Map<string, string>();
      for (const { name, index, namespace, enforcement } of interfaces) {
        if (enforcement.state !== 'not enforced') continue;
        const key = `${namespace} ${index}`;
        const text = `${namespace === null ? name : `${name} (in ${namespace})`}: not limited: ${enforcement.reason}`;
        now.set(key, text);
        if (told.get(key) === text) continue;
        if (enforcement.kind === 'problem') log.warning(`shaper: ${text}`);
        else log.info(`shaper: ${text}`);
      }
      told = now;
    },
  };
}
