/**
 * Which scripts have run: what decides whether a value in the script node is a new script or one that is only still there. The store
 * alone cannot tell: a host puts a machine's first script there at every boot, carries old values over a migration, and may not let the guest empty
 * the node. The journal is one small file in the state directory, replaced as a whole.
 */
import { promises as fs, readFileSync } from 'node:fs';
import type { FreezeGate } from '../../guest/freeze-gate.ts';
import type { Log } from '../../log.ts';

/** Where and when a node's content is looked at: another boot or another domain has been filled by the host. */
export interface Occasion {
  bootId: string;
  /** {@link domainIdentity} */
  domain: string;
  /** {@link machineUuid} */
  machine: string;
}

/** Hashes of what stands in the node. */
export interface ScriptHashes {
  /** Of the node's own value, which says that a script is there: its pieces alone may change at any time before. */
  value: string;
  /** Of the script with all its pieces. */
  whole: string;
}

/** What is known. */
export interface ProvisionRecord {
  readonly occasion: Occasion;
  /** Hash of the value that stands in the node and was dealt with; null: it was seen, or made, empty. */
  readonly present: string | null;
  /** Hashes of the scripts that were taken, with their pieces, the last one last. */
  readonly taken: readonly string[];
}

export type Verdict =
  | 'new'
  /** It is still there, or there again without anybody having written it for this guest to run. */
  | 'known';

/** Enough for the scripts of a machine's host; of older ones one that is there at a boot would run again. */
const MOST_TAKEN = 64;

/** Pure. Whether what stands in the node now is to be run. */
export function judge(
  record: ProvisionRecord | null,
  found: ScriptHashes,
  now: Occasion,
  runAtEveryBoot: boolean,
): Verdict {
  if (record === null) return 'new';
  const { occasion, present, taken } = record;
  const isSameBoot = occasion.bootId === now.bootId;
  // the disk of a copied machine: what the original has run this one has not
  if (!isSameBoot && now.machine !== '' && occasion.machine !== '' && occasion.machine !== now.machine)
    return 'new';
  if (isSameBoot && occasion.domain === now.domain) return present === found.value ? 'known' : 'new';
  if (!isSameBoot && runAtEveryBoot) return 'new';
  return taken.includes(found.whole) ? 'known' : 'new';
}

/** Pure: the record after the node was seen with a value of this hash in it (null: empty). */
export function afterLook(
  record: ProvisionRecord | null,
  present: string | null,
  now: Occasion,
): ProvisionRecord | null {
  // nothing is to be kept of a machine that never had a script
  if (record === null && present === null) return null;
  const taken = record?.taken ?? [];
  if (
    record !== null &&
    record.present === present &&
    record.occasion.bootId === now.bootId &&
    record.occasion.domain === now.domain
  )
    return record;
  return { occasion: now, present, taken };
}

/** Pure: the record after a script was taken. @param whole its hash @param present as in {@link afterLook} */
export function afterTake(
  record: ProvisionRecord | null,
  whole: string,
  present: string | null,
  now: Occasion,
): ProvisionRecord {
  const others = (record?.taken ?? []).filter((each) => each !== whole);
  return { occasion: now, present, taken: [...others.slice(1 - MOST_TAKEN), whole] };
}

export interface ProvisionJournal {
  readonly record: ProvisionRecord | null;
  /** Resolves when it is on the disk; a failure is logged once. While file systems are frozen it waits for the thaw. */
  save(record: ProvisionRecord | null): Promise<void>;
  /** Resolves when nothing waits to be written any more. */
  settled(): Promise<void>;
}

const VERSION = 1;

/** Reads it at once; a file that is missing or damaged is none. */
export function openProvisionJournal(path: string, gate: FreezeGate, log: Log): ProvisionJournal {
  let record = load();
  let saving: Promise<void> = Promise.resolve();
  let isBroken = false;

  function load(): ProvisionRecord | null {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch {
      return null;
    }
    const found = parseRecord(text);
    if (found === null) log.warning(`${path} is damaged: scripts that have run may run again`);
    return found;
  }

  async function write(next: ProvisionRecord): Promise<void> {
    const file = await fs.open(`${path}.new`, 'w', 0o600);
    try {
      await file.writeFile(`${JSON.stringify({ version: VERSION, ...next })}\n`);
      await file.datasync();
    } finally {
      await file.close();
    }
    await fs.rename(`${path}.new`, path);
  }

  return {
    get record() {
      return record;
    },
    settled: () => saving,
    save(next) {
      if (next === null || next === record) return saving;
      record = next;
      saving = saving
        .then(() => gate.pass(() => write(next)))
        .catch((error: unknown) => {
          if (!isBroken) log.warning(`${path} cannot be written, scripts may run again: ${String(error)}`);
          isBroken = true;
        });
      return saving;
    },
  };
}

function parseRecord(text: string): ProvisionRecord | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { version, occasion, present, taken } = value as Record<string, unknown>;
  if (version !== VERSION || typeof occasion !== 'object' || occasion === null) return null;
  const { bootId, domain, machine } = occasion as Record<string, unknown>;
  if (typeof bootId !== 'string' || typeof domain !== 'string' || typeof machine !== 'string') return null;
  if (present !== null && typeof present !== 'string') return null;
  if (!Array.isArray(taken) || !taken.every((each) => typeof each === 'string')) return null;
  return { occasion: { bootId, domain, machine }, present, taken };
}
