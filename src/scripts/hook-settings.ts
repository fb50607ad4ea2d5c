/**
 * Which hook scripts the administrator has switched off (`chr-agent scripts`). One small file in the state directory, replaced
 * as a whole, so that it holds over restarts; without it all are on.
 */
import { promises as fs, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { Log } from '../log.ts';

export const HOOK_NAMES = [
  'poweron',
  'resume',
  'poweroff',
  'suspend',
  'freeze',
  'freeze-fail',
  'thaw',
] as const;
export type HookName = (typeof HOOK_NAMES)[number];

export interface HookSettings {
  isEnabled(name: HookName): boolean;
  /**
   * In force at once. Resolves when it is on the disk, while file systems are frozen only after the thaw.
   * @throws the errors of node:fs
   */
  setEnabled(names: readonly HookName[], enabled: boolean): Promise<void>;
}

export interface HookSettingsOptions {
  stateDir: string;
  gate: FreezeGate;
  log: Log;
}

const FILE = 'scripts.state';
const VERSION = 1;

export const isHookName = (word: unknown): word is HookName =>
  (HOOK_NAMES as readonly unknown[]).includes(word);

/** Reads the file at once, so not to be called while file systems are frozen. A damaged one is set aside. */
export function openHookSettings({ stateDir, gate, log }: HookSettingsOptions): HookSettings {
  const path = join(stateDir, FILE);
  const disabled = new Set(readDisabled(path, log));
  let saving: Promise<void> = Promise.resolve();

  return {
    isEnabled: (name) => !disabled.has(name),
    setEnabled(names, enabled) {
      for (const name of names) {
        if (enabled) disabled.delete(name);
        else disabled.add(name);
      }
      const save = () => gate.pass(() => replaceFile(path, format(disabled)));
      // after a failure the next one is tried all the same
      saving = saving.then(save, save);
      return saving;
    },
  };
}

function readDisabled(path: string, log: Log): readonly HookName[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      log.warning(`${path} cannot be read, all scripts are on: ${String(error)}`);
    return [];
  }
  const disabled = parse(text);
  if (disabled !== null) return disabled;
  log.warning(`${path} is damaged and set aside, all scripts are on`);
  try {
    renameSync(path, `${path}.damaged`);
  } catch {
    // it will be replaced at the next change
  }
  return [];
}

function format(disabled: ReadonlySet<HookName>): string {
  return `${JSON.stringify({ version: VERSION, disabled: [...disabled].sort() })}\n`;
}

/** null: this is not what {@link format} writes. Names that are unknown (of a later version) are left out. */
function parse(text: string): HookName[] | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null || !('disabled' in value)) return null;
  return Array.isArray(value.disabled) ? value.disabled.filter(isHookName) : null;
}

async function replaceFile(path: string, text: string): Promise<void> {
  const directory = dirname(path);
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const temporary = `${path}.new`;
  {
    await using file = await fs.open(temporary, 'w', 0o644);
    await file.writeFile(text);
    await file.sync();
  }
  await fs.rename(temporary, path);
  await using parent = await fs.open(directory, 'r');
  await parent.sync();
}
