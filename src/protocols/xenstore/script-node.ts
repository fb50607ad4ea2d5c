/**
 * The nodes of provisioning (chr-wiki.txt, "Xen"; spec/xenstore.md section 4): the script, its status and its output, and the transactions on
 * them. Where the host lets the guest write below `vm-data`, everything is there; where not, status and output are below `data`.
 */
import { allowed, readIfAllowed, readIfThere } from './refusals.ts';
import type { XenstoreAccess } from './xenstore.ts';

export const SCRIPT_NODE = 'vm-data/provision/script';
/** Where a guest on an xl host may write. */
export const FALLBACK_NODE = 'data/provision/script';
/** The spelling in the published documentation. */
const MISSPELT_OUTPUT = 'otuput';

/** Requests in a transaction are limited on XenServer (1024), and each piece takes two. */
export const MOST_PIECES = 256;

export type ScriptStatus = 'ready' | 'running' | 'error';

export type ScriptContent =
  /** No node, or an empty one. */
  | { kind: 'nothing' }
  /** `value` is the node's own; `whole` has its pieces too, all that makes the difference between two scripts. */
  | { kind: 'script'; value: Buffer; whole: Buffer; base64: Buffer; pieces: number }
  | { kind: 'unusable'; value: Buffer; whole: Buffer; problem: string; pieces: number };

/** What stands in the script node, its pieces joined. @throws {XenstoreError} EACCES: it cannot be known */
export async function readScript(access: XenstoreAccess): Promise<ScriptContent> {
  const value = await readIfThere(access, SCRIPT_NODE);
  if (value === null || value.length === 0) return { kind: 'nothing' };
  const count = /^pieces=(\d{1,9})\s*$/.exec(value.toString('latin1'))?.[1];
  if (count === undefined) return { kind: 'script', value, whole: value, base64: value, pieces: 0 };
  const pieces = Number(count);
  if (pieces > MOST_PIECES) {
    const problem = `the script comes in ${pieces} pieces, of which there may be ${MOST_PIECES}`;
    return { kind: 'unusable', value, whole: value, problem, pieces: 0 };
  }
  const parts = await Promise.all(
    Array.from({ length: pieces }, (_, index) => readIfThere(access, `${SCRIPT_NODE}/${index}`)),
  );
  const whole = Buffer.concat([value, Buffer.from('\n'), ...parts.filter((part) => part !== null)]);
  const missing = parts.indexOf(null);
  if (missing >= 0) {
    const problem = `piece ${missing} of the script (${SCRIPT_NODE}/${missing}) is missing; the script node itself is to be written last`;
    return { kind: 'unusable', value, whole, problem, pieces };
  }
  return { kind: 'script', value, whole, base64: whole.subarray(value.length + 1), pieces };
}

/** Makes the script node empty, so that the same text can come again. @returns whether the guest may do that */
export async function emptyScript(access: XenstoreAccess, pieces: number): Promise<boolean> {
  const removals = Array.from({ length: pieces }, (_, index) =>
    allowed(access.remove(`${SCRIPT_NODE}/${index}`)),
  );
  const [isEmpty] = await Promise.all([allowed(access.write(SCRIPT_NODE, '')), ...removals]);
  return isEmpty;
}

/** Where status and output stand. */
export interface ResultPlaces {
  /** Whether the misspelt name of the output is there too. */
  readonly misspelt: boolean;
  /** The last result went to {@link FALLBACK_NODE}, too. */
  readonly fallback: boolean;
  readStatuses(access: XenstoreAccess): Promise<string[]>;
  /** Writes the status where it does not stand already, and is nothing but reads if it does. */
  ensureStatus(access: XenstoreAccess, status: ScriptStatus): Promise<void>;
  /** Status and output; an output of null removes an earlier one. To be done in a transaction. */
  write(access: XenstoreAccess, status: ScriptStatus, output: string | null): Promise<void>;
}

/** @param onDenied called when the host does not let the guest write below `vm-data` */
export function resultPlaces(options: { misspelt: boolean; onDenied(): void }): ResultPlaces {
  const { misspelt, onDenied } = options;
  const outputNames = misspelt ? ['output', MISSPELT_OUTPUT] : ['output'];
  // once it is in use a host may look there, whatever it has allowed since
  let fallback = false;

  async function writeAt(
    node: string,
    access: XenstoreAccess,
    status: ScriptStatus,
    output: string | null,
  ): Promise<boolean> {
    const outputs = outputNames.map((name) =>
      output === null
        ? allowed(access.remove(`${node}/${name}`))
        : allowed(access.write(`${node}/${name}`, output)),
    );
    const done = await Promise.all([...outputs, allowed(access.write(`${node}/status`, status))]);
    return done.every(Boolean);
  }

  async function ensureAt(node: string, access: XenstoreAccess, status: ScriptStatus): Promise<boolean> {
    const known = await readIfAllowed(access, `${node}/status`);
    return known?.toString() === status || allowed(access.write(`${node}/status`, status));
  }

  function denied(): void {
    fallback = true;
    onDenied();
  }

  return {
    misspelt,
    get fallback() {
      return fallback;
    },
    async readStatuses(access) {
      const found = await Promise.all(
        [SCRIPT_NODE, FALLBACK_NODE].map((node) => readIfAllowed(access, `${node}/status`)),
      );
      // left by an earlier run of the daemon, which needed it
      if (found[1] !== null) fallback = true;
      return found.flatMap((value) => (value === null ? [] : [value.toString()]));
    },
    async ensureStatus(access, status) {
      if (!(await ensureAt(SCRIPT_NODE, access, status))) denied();
      if (fallback) await ensureAt(FALLBACK_NODE, access, status);
    },
    async write(access, status, output) {
      if (!(await writeAt(SCRIPT_NODE, access, status, output))) denied();
      if (fallback) await writeAt(FALLBACK_NODE, access, status, output);
    },
  };
}
