/** Keeps the one license in memory and on disk in step: reads it at the start, takes verified tokens, tells of changes. */
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { Log } from '../log.ts';
import { licenseCodec } from './codec.ts';
import type { LicenseTime } from './license-time.ts';
import { type Delivery, FREE, type License, type LicenseToken, licenseAt, refusal } from './lifecycle.ts';
import { type LicenseReport, reportAt } from './report.ts';
import { emptyLicense, type LicenseStore, NO_RENEWAL, type StoredLicense } from './store.ts';
import { verifyStoredToken } from './stored-token.ts';
import { makeSystemId, type SystemId } from './system-id.ts';
import { TokenRefusedError, verifyToken } from './token.ts';
import { readVendorKeys } from './vendor-keys.ts';

export interface LicenseKeeperOptions {
  readonly store: LicenseStore;
  readonly gate: FreezeGate;
  readonly log: Log;
  readonly time: LicenseTime;
  readonly keysDir: () => string;
  /** After each change of the token or its state. */
  readonly onChange: (license: License) => void;
}

export interface LicenseKeeper {
  /** Reads and verifies; what cannot be used is logged, and the level is free. */
  load(): Promise<void>;
  /** Verifies the stored token again: the keys may be others now. */
  verifyAgain(): Promise<void>;
  /** At this moment. */
  license(): License;
  token(): LicenseToken | null;
  /** @throws {LicenseUnavailableError} */
  stored(): StoredLicense;
  /** @throws {LicenseUnavailableError} */
  report(): LicenseReport;
  /** Verifies, stores and adopts a token. @throws {TokenRefusedError} and the errors of node:fs: then nothing has changed */
  accept(bytes: Uint8Array, delivery: Delivery): Promise<License>;
  /** Stores what became of an automatic attempt. */
  recordAttempt(problem: string | null, isAnswered: boolean): Promise<void>;
  /** Remembers why a renewal by hand failed, for `print`; not on disk. */
  rememberProblem(problem: string): void;
  /** Stores the time if an hour has passed, and what the time has made of the license. */
  recordTime(): Promise<void>;
  /** @throws {NewIdRefusedError} */
  generateNewId(): Promise<SystemId>;
}

/** The license state cannot be used at all; the level is free. */
export class LicenseUnavailableError extends Error {
  override name = 'LicenseUnavailableError';
}

export class NewIdRefusedError extends Error {
  override name = 'NewIdRefusedError';
}

export const RECORD_INTERVAL_MS = 3_600_000;

export function createLicenseKeeper(options: LicenseKeeperOptions): LicenseKeeper {
  const { store, gate, log, time, keysDir, onChange } = options;
  let stored: StoredLicense | null = null;
  let unavailable = 'the license has not been read yet';
  let token: LicenseToken | null = null;
  let problem: string | null = null;
  let announced: License = FREE;

  function needStored(): StoredLicense {
    if (stored === null) throw new LicenseUnavailableError(unavailable);
    return stored;
  }

  function changed(changes: Partial<StoredLicense>): StoredLicense {
    return { ...needStored(), ...changes, latestTimeMs: time.nowMs() };
  }

  /** In memory only when it is on disk. */
  async function save(changes: Partial<StoredLicense>): Promise<void> {
    const next = changed(changes);
    await gate.pass(() => store.write(next));
    stored = next;
  }

  /** For records whose loss harms nobody, since the next one comes: in memory anyway, which times that next one. */
  async function record(changes: Partial<StoredLicense>): Promise<void> {
    const next = changed(changes);
    try {
      await gate.pass(() => store.write(next));
    } catch (error) {
      log.error(`license: cannot be stored: ${error instanceof Error ? error.message : error}`);
    }
    stored = next;
  }

  /** @returns whether the license is another one than was last told */
  function announce(): boolean {
    const license = licenseAt(token, time.nowMs());
    if (JSON.stringify(license) === JSON.stringify(announced)) return false;
    announced = license;
    log.info(`license: ${describe(license)}`);
    onChange(license);
    return true;
  }

  async function readStore(): Promise<void> {
    const contents = store.read();
    switch (contents.kind) {
      case 'stored':
        stored = contents.license;
        time.atLeast(stored.latestTimeMs);
        return;
      case 'newer':
        unavailable = `the license state was written by a later version of chr-agent (form ${contents.version})`;
        log.error(`license: ${unavailable}; the level is free`);
        return;
      case 'lost':
        if (contents.wasDamaged) store.setDamagedAside(log);
        else log.warning('license: the state is gone, the level is free');
        // of an id whose state is lost nobody knows what it had
        stored = emptyLicense(
          contents.systemId ?? (await randomSystemId()),
          contents.systemId !== null,
          time.nowMs(),
        );
        break;
      case 'empty':
        stored = emptyLicense(await randomSystemId(), false, time.nowMs());
        log.info(`license: this system's id is ${stored.systemId}`);
    }
    await store.write(stored);
  }

  async function verifyStored(): Promise<void> {
    if (stored === null) return;
    ({ token, problem } = await verifyStoredToken(stored, keysDir(), log));
    if (problem !== null) log.warning(`license: ${problem}; the level is free`);
    problem ??= stored.renewal.problem;
    announce();
  }

  return {
    async load() {
      try {
        await gate.pass(async () => {
          await readStore();
          await verifyStored();
        });
      } catch (error) {
        unavailable = `the license state cannot be used: ${error instanceof Error ? error.message : error}`;
        log.error(`license: ${unavailable}; the level is free`);
      }
    },
    verifyAgain: () => gate.pass(verifyStored),
    license: () => licenseAt(token, time.nowMs()),
    token: () => token,
    stored: needStored,
    report: () => reportAt(needStored(), token, problem, time.nowMs()),

    async accept(bytes, delivery) {
      const { systemId, highestSerial } = needStored();
      const context = await gate.pass(async () => ({
        codec: await licenseCodec(),
        keys: await readVendorKeys(keysDir(), log),
        systemId,
      }));
      const next = verifyToken(bytes, context);
      const why = refusal(token, next, highestSerial, delivery);
      if (why !== null) throw new TokenRefusedError(why);
      await save({
        token: bytes,
        hasHistory: true,
        highestSerial: next.serial,
        // whatever its dates say, the next attempt is an hour away
        renewal: { ...NO_RENEWAL, lastAttemptAtMs: delivery === 'imported' ? null : time.nowMs() },
      });
      token = next;
      problem = null;
      announce();
      return licenseAt(token, time.nowMs());
    },

    async recordAttempt(why, isAnswered) {
      if (why !== null && why !== problem) log.warning(`license: renewal failed: ${why}`);
      problem = why;
      await record({ renewal: { lastAttemptAtMs: time.nowMs(), problem: why, isAnswered } });
    },

    rememberProblem(why) {
      problem = why;
    },

    async recordTime() {
      if (stored === null) return;
      const isChanged = announce();
      if (isChanged || time.nowMs() - stored.latestTimeMs >= RECORD_INTERVAL_MS) await record({});
    },

    async generateNewId() {
      if (needStored().hasHistory) {
        throw new NewIdRefusedError(
          'the system id stays: this system has or had a trial or license. A license is transferred on the account server',
        );
      }
      const systemId = await randomSystemId();
      await save({ systemId });
      log.info(`license: this system's id is ${systemId} now`);
      return systemId;
    },
  };
}

async function randomSystemId(): Promise<SystemId> {
  const { randomBytes } = await import('node:crypto');
  return makeSystemId(randomBytes(8));
}

function describe(license: License): string {
  if (license.state === 'free') return 'free';
  const { state, level, deadlineAtMs } = license;
  return `${level}, ${state}, deadline ${new Date(deadlineAtMs).toISOString()}`;
}
