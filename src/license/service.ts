/** The license service of the daemon: composes keeper, renewals and account server, and serves the console. */
import { readFileSync } from 'node:fs';
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { Log } from '../log.ts';
import { type AccountServerAccess, askAccountServer, type RenewalAnswer } from './account-api.ts';
import { licenseCodec } from './codec.ts';
import { createLicenseKeeper } from './keeper.ts';
import { isPaidLevel, type Level, type LevelSource, type PaidLevel } from './levels.ts';
import { createLicenseTime, type LicenseClock, SYSTEM_CLOCK } from './license-time.ts';
import { type LicenseState, levelOf } from './lifecycle.ts';
import { createRenewal } from './renewal.ts';
import type { LicenseReport } from './report.ts';
import { openLicenseStore } from './store.ts';
import type { SystemId } from './system-id.ts';
import { readSystemRoots } from './system-roots.ts';
import { TokenRefusedError, tokenBytes } from './token.ts';

/** Asked for at each use: a reload may change them. */
export interface LicenseSettings {
  /** Where the vendor's public keys are. */
  readonly keysDir: string;
  /** URL, or null: no renewal. */
  readonly accountServer: string | null;
  /** Certificates that the account server's is checked against, or null for the system's. */
  readonly caFile: string | null;
}

export interface LicenseServiceOptions {
  readonly stateDir: string;
  readonly settings: () => LicenseSettings;
  readonly gate: FreezeGate;
  readonly log: Log;
  readonly agentVersion: string;
  /** Called when an exchange is over: TLS and its certificates leave several MB behind. */
  readonly releaseMemory?: () => void;
  readonly clock?: LicenseClock;
  /** Of one exchange with the account server. */
  readonly timeLimitMs?: number;
}

export interface RenewArguments {
  readonly account: string;
  /** UTF-8; wiped when the request is done. */
  readonly password: Uint8Array;
  /** What the user typed; counts only at the free level. */
  readonly level: string;
}

export interface LicenseService extends LevelSource {
  /** Reads the license; to be called once, when the host's channels are served. Never fails. */
  start(): Promise<void>;
  state(): LicenseState;
  /** @throws {Error} why there is nothing to tell */
  report(): LicenseReport;
  /** @throws {LicenseRequestError} why not, in words */
  renew(request: RenewArguments): Promise<void>;
  /** Takes a token from a file's contents. @throws {LicenseRequestError} */
  importToken(file: Uint8Array): Promise<void>;
  /** @throws {Error} why not, in words */
  generateNewId(): Promise<SystemId>;
  /** After the settings have changed: verifies with the keys of now, and attempts go on. */
  reload(): Promise<void>;
  /** Resolves when no attempt is under way. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

/** A request of the console that was not done, and nothing has changed. */
export class LicenseRequestError extends Error {
  override name = 'LicenseRequestError';
}

export function createLicenseService(options: LicenseServiceOptions): LicenseService {
  const { settings, gate, log, agentVersion, clock = SYSTEM_CLOCK } = options;
  const time = createLicenseTime(clock);
  const listeners = new Set<(level: Level) => void>();
  const loaded = Promise.withResolvers<void>();
  let level: Level = 'free';
  /** One change at a time. */
  let queue: Promise<unknown> = loaded.promise;

  const keeper = createLicenseKeeper({
    store: openLicenseStore(options.stateDir),
    gate,
    log,
    time,
    keysDir: () => settings().keysDir,
    onChange(license) {
      const next = levelOf(license);
      if (next === level) return;
      level = next;
      for (const listener of [...listeners]) listener(level);
    },
  });
  const renewal = createRenewal({
    keeper,
    time,
    clock,
    gate,
    canAsk: () => settings().accountServer !== null,
    ask: askWithToken,
  });

  /** @throws {Error} if there is no account server, or the CA file cannot be read */
  async function access(signal?: AbortSignal): Promise<AccountServerAccess> {
    const { accountServer, caFile } = settings();
    if (accountServer === null) {
      throw new LicenseRequestError('no account server is configured (license.account-server)');
    }
    const ca = await gate.pass(async () => {
      // a chunk of the bundle
      await licenseCodec();
      if (caFile !== null) return readFileSync(caFile, 'utf8');
      const isTls = new URL(accountServer).protocol === 'https:';
      return isTls ? readSystemRoots(process.env.SSL_CERT_FILE) : null;
    });
    const { timeLimitMs } = options;
    return { url: accountServer, ca, ...(signal && { signal }), ...(timeLimitMs && { timeLimitMs }) };
  }

  async function askWithToken(signal: AbortSignal): Promise<RenewalAnswer> {
    const { token, systemId, highestSerial } = keeper.stored();
    if (token === null) return { kind: 'no-answer', words: 'there is no token' };
    try {
      const request = { by: 'itself', systemId, currentSerial: highestSerial, agentVersion, token } as const;
      return await askAccountServer(request, await access(signal));
    } catch (error) {
      return { kind: 'no-answer', words: error instanceof Error ? error.message : String(error) };
    } finally {
      options.releaseMemory?.();
    }
  }

  /** Does a change for the console: after those before it, instead of an attempt that is under way. */
  function change<T>(work: () => Promise<T>): Promise<T> {
    if (gate.frozen) {
      return Promise.reject(new LicenseRequestError('file systems are frozen: try again after the thaw'));
    }
    const done = queue.then(async () => {
      await renewal.pause();
      return work();
    });
    queue = done.catch(() => undefined).then(() => renewal.resume());
    return done;
  }

  async function renewByHand({ account, password, level: wanted }: RenewArguments): Promise<void> {
    if (keeper.license().state === 'free' && wanted !== '' && !isPaidLevel(wanted)) {
      throw new LicenseRequestError('the level is one of p1, p10, p-unlimited');
    }
    const server = await access();
    const { systemId, highestSerial } = keeper.stored();
    const asked: PaidLevel | null = isPaidLevel(wanted) ? wanted : null;
    const answer = await askAccountServer(
      { by: 'hand', systemId, currentSerial: highestSerial, agentVersion, account, password, level: asked },
      server,
    );
    if (answer.kind !== 'token') {
      keeper.rememberProblem(answer.words);
      throw new LicenseRequestError(answer.words);
    }
    await accept(answer.token, 'by-hand', "the account server's token");
  }

  async function accept(token: Uint8Array, delivery: 'by-hand' | 'imported', what: string): Promise<void> {
    try {
      await keeper.accept(token, delivery);
    } catch (error) {
      if (!(error instanceof TokenRefusedError)) throw error;
      throw new LicenseRequestError(`${what} is refused: ${error.message}`);
    }
  }

  return {
    loaded: loaded.promise,
    level: () => level,
    onLevelChange(listener) {
      const own = (next: Level) => listener(next);
      listeners.add(own);
      return () => listeners.delete(own);
    },
    async start() {
      await keeper.load();
      loaded.resolve();
      renewal.resume();
    },
    state: () => keeper.license().state,
    report: () => keeper.report(),
    renew: (request) =>
      change(() => renewByHand(request)).finally(() => {
        request.password.fill(0);
        options.releaseMemory?.();
      }),
    importToken: (file) => change(() => accept(tokenBytes(file), 'imported', 'the token')),
    generateNewId: () => change(() => keeper.generateNewId()),
    async reload() {
      if (gate.frozen) await gate.whenThawed();
      await change(() => keeper.verifyAgain());
    },
    settled: () => queue.then(() => renewal.settled()),
    async stop() {
      await renewal.stop();
    },
  };
}
