/**
 * The marker file: a hint for the next daemon that this one had frozen file systems, or was about to, and what became of it.
 * What is really frozen only the kernel knows. In `upstream` it has the name that qemu-ga gives its own, whose existence is
 * all that counts there (spec qemu-ga.md section 4).
 */
import { promises as fs, readFileSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { FreezeGate } from '../guest/freeze-gate.ts';

export interface Marker {
  readonly owner: string;
  readonly sinceMs: number;
  /** What is frozen, in the order in which it was. */
  readonly mountPoints: readonly string[];
  /**
   * Null: frozen, or about to be. Else it was thawed without having been asked for, and the freeze-fail hook has had its
   * turn: the next thaw has to say this.
   */
  readonly notice: string | null;
}

export type FoundMarker =
  | { kind: 'none' }
  | { kind: 'marker'; marker: Marker }
  /** Somebody else's (qemu-ga's is empty), or damaged. */
  | { kind: 'unreadable' };

export interface MarkerFile {
  /** Synchronous: for the start. One from before the machine's last boot is removed, and counts as none. */
  find(): FoundMarker;
  /** @throws the errors of node:fs */
  write(marker: Marker): Promise<void>;
  /** @throws the errors of node:fs, but for a file that is not there */
  remove(): Promise<void>;
}

const VERSION = 1;

/** @param root prefix of /proc, for tests */
export function createMarkerFile(path: string, gate: FreezeGate, root = '/'): MarkerFile {
  return {
    find() {
      const text = readText(path);
      if (text === null) return { kind: 'none' };
      const parsed = parse(text);
      if (parsed === null) return { kind: 'unreadable' };
      if (parsed.bootId !== bootId(root)) {
        unlinkSync(path);
        return { kind: 'none' };
      }
      return { kind: 'marker', marker: parsed.marker };
    },
    async write(marker) {
      const text = `${JSON.stringify({ version: VERSION, bootId: bootId(root), ...marker })}\n`;
      await gate.pass(async () => {
        await fs.writeFile(`${path}.new`, text, { mode: 0o600 });
        await fs.rename(`${path}.new`, path);
      });
    },
    async remove() {
      await gate.pass(() => fs.rm(path, { force: true }));
    },
  };
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

/** Changes with every boot; a restored snapshot of a disk must not look like an agent that was killed. */
function bootId(root: string): string {
  return readText(join(root, 'proc/sys/kernel/random/boot_id'))?.trim() ?? '';
}

function parse(text: string): { bootId: string; marker: Marker } | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { version, bootId, owner, sinceMs, mountPoints, notice } = value as Record<string, unknown>;
  if (version !== VERSION || typeof bootId !== 'string' || typeof owner !== 'string') return null;
  if (typeof sinceMs !== 'number' || !isStringList(mountPoints)) return null;
  if (notice !== null && typeof notice !== 'string') return null;
  return { bootId, marker: { owner, sinceMs, mountPoints, notice } };
}

function isStringList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}
