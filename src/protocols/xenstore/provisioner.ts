/**
 * Scripts from the host (chr-wiki.txt, "Xen"): whatever is written to the script node is run once. One look after another: a watch
 * only says that there may be something to see, and everything that is seen and done is decided here.
 *
 * Taking a script empties the node and sets the status in one transaction. The host may not let the guest do that, or put an old script back (at
 * a boot, after a migration): then {@link ProvisionJournal} knows it.
 */
import type { FreezeGate } from '../../guest/freeze-gate.ts';
import type { Log } from '../../log.ts';
import type { NativeAddon } from '../../native/addon.ts';
import type { Jobs } from '../../scripts/job.ts';
import { domainIdentity, domainNumber, machineUuid } from './domain.ts';
import {
  afterLook,
  afterTake,
  judge,
  type Occasion,
  type ProvisionJournal,
  type ScriptHashes,
} from './provision-journal.ts';
import { runScript, type ScriptResult } from './provision-run.ts';
import { isDenied, isNoRoom } from './refusals.ts';
import { createRounds, RoundOutdated } from './rounds.ts';
import {
  emptyScript,
  FALLBACK_NODE,
  readScript,
  resultPlaces,
  SCRIPT_NODE,
  type ScriptContent,
} from './script-node.ts';
import { decodeScript, encodeOutput, MOST_VALUE_BYTES } from './script-text.ts';
import type { Xenstore } from './xenstore.ts';

export interface ProvisionerOptions {
  store: Xenstore;
  scripts: Jobs;
  native: Pick<NativeAddon, 'base64Decode'>;
  gate: FreezeGate;
  log: Log;
  journal: ProvisionJournal;
  bootId: string;
  timeLimitMs: number;
  /** Whether the output is written under its misspelt name too. */
  misspeltOutput: boolean;
  runAtEveryBoot: boolean;
  /** Where output that does not fit in the store is saved whole. */
  filesDir: string;
  /** After a failure of the store. */
  retryMs?: number;
}

export interface Provisioner {
  /** Waits for a script that runs, and tells the store its end. Never rejects. */
  stop(): Promise<void>;
}

type State =
  /** What an earlier run of the daemon left is not known yet. */
  | { is: 'starting' }
  | { is: 'idle'; status: 'ready' | 'error' }
  /** `refusal`: a script that came meanwhile has been noticed, and logged. */
  | { is: 'running'; refusal: boolean }
  /** The store has not been told yet. */
  | { is: 'ended'; result: ScriptResult; refusal: boolean };

/** How much of an output is tried when the store has less room than usual. */
const VALUE_SIZES = [MOST_VALUE_BYTES, 1004, 500, 244];
/** For the last words when the agent stops. */
const FAREWELL_MS = 2_000;

type SomeContent = Exclude<ScriptContent, { kind: 'nothing' }>;

export async function startProvisioner(options: ProvisionerOptions): Promise<Provisioner> {
  const { store, native, gate, log, journal, bootId, runAtEveryBoot } = options;
  let state: State = { is: 'starting' };
  let run: Promise<void> = Promise.resolve();
  let isStopping = false;
  let isDeniedLogged = false;
  let isUnreadableLogged = false;
  const places = resultPlaces({ misspelt: options.misspeltOutput, onDenied: noteDenied });
  const rounds = createRounds({
    name: 'provisioning',
    round: look,
    log,
    ...(options.retryMs !== undefined && { firstRetryMs: options.retryMs }),
  });

  async function look(): Promise<void> {
    if (state.is === 'ended') await report(state);
    // what there is to do waits for the thaw, or for the next run of the daemon
    if (gate.frozen || isStopping) return;
    if (state.is === 'starting') await begin();
    let content: ScriptContent;
    let now: Occasion;
    try {
      [content, now] = await Promise.all([readScript(store), occasion()]);
    } catch (error) {
      if (!isDenied(error)) throw error;
      noteUnreadable();
      return;
    }
    if (content.kind === 'nothing') await journal.save(afterLook(journal.record, null, now));
    else if (state.is === 'running') await noteRefusal(state, content, now);
    else if (await consider(content, now)) return;
    // also since it may not be there any more: after a resume, or when the host has removed it all
    await places.ensureStatus(store, state.is === 'idle' ? state.status : 'running');
  }

  async function occasion(): Promise<Occasion> {
    const [domain, machine] = await Promise.all([domainIdentity(store), machineUuid(store)]);
    return { bootId, domain, machine };
  }

  /** A script that was running when the daemon ended has ended with it. */
  async function begin(): Promise<void> {
    const wasRunning = (await places.readStatuses(store)).includes('running');
    if (wasRunning) log.warning('a script was running when the agent ended last: status error');
    const status = wasRunning ? 'error' : 'ready';
    await places.ensureStatus(store, status);
    state = { is: 'idle', status };
  }

  /** Takes it, if it is a new script. @returns whether it was. */
  async function consider(content: SomeContent, now: Occasion): Promise<boolean> {
    const hashes = await hashesOf(content);
    const isNew = judge(journal.record, hashes, now, runAtEveryBoot) === 'new';
    const isEmpty = await store.transaction(async (access) => {
      const found = await readScript(access);
      if (found.kind === 'nothing' || !found.whole.equals(content.whole)) throw new RoundOutdated();
      const emptied = await emptyScript(access, content.pieces);
      if (isNew) await places.write(access, 'running', null);
      return emptied;
    });
    const present = isEmpty ? null : hashes.value;
    if (!isNew) {
      await journal.save(afterLook(journal.record, present, now));
      return false;
    }
    state = { is: 'running', refusal: false };
    const saved = journal.save(afterTake(journal.record, hashes.whole, present, now));
    // an empty node is enough for a daemon that is killed from here on
    run = execute(content, isEmpty ? Promise.resolve() : saved);
    return true;
  }

  async function execute(content: SomeContent, mayStart: Promise<void>): Promise<void> {
    await mayStart;
    const script = content.kind === 'unusable' ? content : decodeScript(native, content.base64);
    const result =
      script.kind === 'unusable' ? refused(script.problem) : await runScript(script.text, options);
    state = { is: 'ended', result, refusal: state.is === 'running' && state.refusal };
    rounds.wake();
  }

  function refused(problem: string): ScriptResult {
    log.warning(problem);
    return { status: 'error', head: Buffer.from(`chr-agent: ${problem}\n`), isWhole: true, marker: '' };
  }

  /** Tells the end of a run, with as much of the output as there is room for, and takes away what came while it ran. */
  async function report(ended: State & { is: 'ended' }): Promise<void> {
    const { status, head, isWhole, marker } = ended.result;
    const now = await occasion();
    for (const valueBytes of VALUE_SIZES) {
      const output = head.length === 0 ? null : encodeOutput(head, isWhole, marker, valueBytes);
      try {
        await finish(ended, output, now);
        state = { is: 'idle', status };
        return;
      } catch (error) {
        if (!isNoRoom(error)) throw error;
      }
    }
    log.warning("the store has no room for the script's output");
    await finish(ended, null, now);
    state = { is: 'idle', status };
  }

  async function finish(ended: State & { is: 'ended' }, output: string | null, now: Occasion): Promise<void> {
    const { left, isEmpty } = await store.transaction(async (access) => {
      const left = await readScript(access).catch(nothingIfDenied);
      const isEmpty = left.kind === 'nothing' || (await emptyScript(access, left.pieces));
      await places.write(access, ended.result.status, output);
      return { left, isEmpty };
    });
    if (left.kind === 'nothing') return;
    const { value } = await noteRefusal(ended, left, now);
    await journal.save(afterLook(journal.record, isEmpty ? null : value, now));
  }

  /** One that cannot be taken out of the node is the script that runs. */
  async function noteRefusal(
    current: { refusal: boolean },
    content: SomeContent,
    now: Occasion,
  ): Promise<ScriptHashes> {
    const hashes = await hashesOf(content);
    if (!current.refusal && judge(journal.record, hashes, now, false) === 'new') {
      current.refusal = true;
      log.warning('a script came while another one was running, and was not accepted');
    }
    return hashes;
  }

  function noteDenied(): void {
    if (isDeniedLogged) return;
    isDeniedLogged = true;
    domainNumber(store).then(
      (id) =>
        log.warning(
          `the host does not let this guest write to ${SCRIPT_NODE}: status and output are in ${FALLBACK_NODE} too; ` +
            `on the host: xenstore-chmod -r /local/domain/${id}/${SCRIPT_NODE} n${id}`,
        ),
      () => {
        isDeniedLogged = false;
      },
    );
  }

  function noteUnreadable(): void {
    if (isUnreadableLogged) return;
    isUnreadableLogged = true;
    log.warning(`the host does not let this guest read ${SCRIPT_NODE}: no script will be run`);
  }

  const watch = await store.watch(SCRIPT_NODE, () => rounds.wake());
  const stopThaw = gate.onThaw(() => rounds.wake());

  return {
    async stop() {
      isStopping = true;
      await run;
      stopThaw();
      await watch.close();
      await rounds.stop(FAREWELL_MS);
      await journal.settled();
    },
  };
}

function nothingIfDenied(error: unknown): { kind: 'nothing' } {
  if (isDenied(error)) return { kind: 'nothing' };
  throw error;
}

/** node:crypto costs several milliseconds to load: only who gets a script pays. */
async function hashesOf({ value, whole }: SomeContent): Promise<ScriptHashes> {
  const { createHash } = await import('node:crypto');
  const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  return { value: sha256(value), whole: sha256(whole) };
}
