/**
 * The license on disk: `license.state` has everything, `system-id` a second copy of the id, so that damage to the first does
 * not cost a system its identity. Written atomically; what is damaged is set aside and reported (design.md idea 6).
 */
import { promises as fs, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../log.ts';
import { isSystemId, type SystemId } from './system-id.ts';

/** What is kept. Times are milliseconds since 1970. */
export interface StoredLicense {
  readonly systemId: SystemId;
  /** Whether this system may ever have had a trial or license: then its id stays. */
  readonly hasHistory: boolean;
  /** Of all tokens that were ever accepted, 0: none. Also what a released token's successor has to reach. */
  readonly highestSerial: number;
  /** The latest time that this system has known. */
  readonly latestTimeMs: number;
  /** An encoded SignedToken. */
  readonly token: Uint8Array | null;
  readonly renewal: {
    /** Of the last automatic attempt. */
    readonly lastAttemptAtMs: number | null;
    /** Why it failed. */
    readonly problem: string | null;
    /** Whether the server answered it with an error: then there are no more for this token. */
    readonly isAnswered: boolean;
  };
}

export type StoreContents =
  | { readonly kind: 'stored'; readonly license: StoredLicense }
  /** Nothing is there yet. */
  | { readonly kind: 'empty' }
  /** The state was damaged, or is gone while the id is still there. */
  | { readonly kind: 'lost'; readonly systemId: SystemId | null; readonly wasDamaged: boolean }
  /** Written by a later version, which may come back: not to be touched. */
  | { readonly kind: 'newer'; readonly systemId: SystemId | null; readonly version: number };

export interface LicenseStore {
  /**
   * Synchronous: passes no gate, so never to be called while file systems are frozen.
   * @throws the errors of node:fs, except for what is not there
   */
  read(): StoreContents;
  /** Resolves when it is on the disk. The caller passes the freeze gate. @throws the errors of node:fs */
  write(license: StoredLicense): Promise<void>;
  /** Moves a damaged state out of the way, so that it can be looked at. */
  setDamagedAside(log: Log): void;
}

export const NO_RENEWAL: StoredLicense['renewal'] = {
  lastAttemptAtMs: null,
  problem: null,
  isAnswered: false,
};

/** Of a system that has no token: a new one, or one of whose history nobody knows. */
export function emptyLicense(systemId: SystemId, hasHistory: boolean, nowMs: number): StoredLicense {
  return { systemId, hasHistory, highestSerial: 0, latestTimeMs: nowMs, token: null, renewal: NO_RENEWAL };
}

const VERSION = 1;
const STATE_FILE = 'license.state';
const ID_FILE = 'system-id';

export function openLicenseStore(directory: string): LicenseStore {
  const statePath = join(directory, STATE_FILE);
  const idPath = join(directory, ID_FILE);
  /** The id that is known to be in its file. */
  let idOnDisk: SystemId | null = null;

  return {
    read() {
      const idText = readIfThere(idPath)?.trim() ?? '';
      const systemId = isSystemId(idText) ? idText : null;
      idOnDisk = systemId;
      const text = readIfThere(statePath);
      if (text === null) {
        return systemId === null ? { kind: 'empty' } : { kind: 'lost', systemId, wasDamaged: false };
      }
      const parsed = parseState(text);
      if (parsed === null) return { kind: 'lost', systemId, wasDamaged: true };
      if (typeof parsed === 'number') return { kind: 'newer', systemId, version: parsed };
      return { kind: 'stored', license: parsed };
    },

    async write(license) {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      await replaceFile(directory, statePath, formatState(license));
      if (idOnDisk === license.systemId) return;
      await replaceFile(directory, idPath, `${license.systemId}\n`);
      idOnDisk = license.systemId;
    },

    setDamagedAside(log) {
      const aside = `${statePath}.damaged`;
      log.warning(`license: ${statePath} is damaged, it is kept as ${aside}; the level is free`);
      renameSync(statePath, aside);
    },
  };
}

async function replaceFile(directory: string, path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  {
    await using file = await fs.open(temporary, 'w', 0o600);
    await file.writeFile(text);
    await file.sync();
  }
  await fs.rename(temporary, path);
  await using parent = await fs.open(directory, 'r');
  await parent.sync();
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

// --- the state's text: one line of JSON, whose checksum tells damage from a value

/** Exported for tests. */
export function formatState({ token, ...rest }: StoredLicense): string {
  const license = { ...rest, token: token === null ? null : Buffer.from(token).toString('base64') };
  return `${JSON.stringify({ version: VERSION, checksum: checksum(license), license })}\n`;
}

/** @returns null if it is damaged, a number if it is of that later version. Exported for tests. */
export function parseState(text: string): StoredLicense | number | null {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(file) || typeof file.version !== 'number') return null;
  if (file.version > VERSION) return file.version;
  const { license } = file;
  if (!isObject(license) || file.checksum !== checksum(license)) return null;
  const { systemId, hasHistory, highestSerial, latestTimeMs, token, renewal } = license;
  if (typeof systemId !== 'string' || !isSystemId(systemId) || typeof hasHistory !== 'boolean') return null;
  if (!isCount(highestSerial) || !isCount(latestTimeMs) || !isObject(renewal)) return null;
  if (token !== null && typeof token !== 'string') return null;
  const { lastAttemptAtMs, problem, isAnswered } = renewal;
  if (lastAttemptAtMs !== null && !isCount(lastAttemptAtMs)) return null;
  if ((problem !== null && typeof problem !== 'string') || typeof isAnswered !== 'boolean') return null;
  return {
    systemId,
    hasHistory,
    highestSerial,
    latestTimeMs,
    token: token === null ? null : Buffer.from(token, 'base64'),
    renewal: { lastAttemptAtMs, problem, isAnswered },
  };
}

/** FNV-1a, 32 bits: against damage, not against root, who could compute anything. */
function checksum(license: object): string {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(JSON.stringify(license))) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
