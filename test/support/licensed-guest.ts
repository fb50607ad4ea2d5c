/** A guest's license service with its files in a directory of its own, and the vendor's key. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFreezeGate, type FreezeGateControl } from '../../src/guest/freeze-gate.ts';
import type { Message } from '../../src/license/messages.ts';
import {
  createLicenseService,
  type LicenseService,
  type LicenseSettings,
} from '../../src/license/service.ts';
import {
  encodeToken,
  makeKeyPair,
  type SigningKey,
  signingKey,
  signToken,
} from '../hosts/account-server/signing.ts';
import { recordingLog } from './quiet-log.ts';
import { type VirtualClock, virtualClock } from './virtual-clock.ts';

export const DAY_MS = 86_400_000;
export const HOUR_MS = 3_600_000;
/** 2026-01-01T00:00:00Z */
export const START_MS = Date.UTC(2026, 0, 1);

/** A year of virtual time is some 10,000 synchronised writes. */
const FAST_DIRECTORY = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

const pair = makeKeyPair();
/** The key that every guest here trusts. */
export const VENDOR_KEY: SigningKey = signingKey('vendor-1', pair.privatePem);
/** One that none does. */
export const STRANGER_KEY: SigningKey = signingKey('vendor-1', makeKeyPair().privatePem);

export interface LicensedGuest extends AsyncDisposable {
  readonly directory: string;
  readonly stateFile: string;
  readonly keysDir: string;
  readonly clock: VirtualClock;
  readonly gate: FreezeGateControl;
  readonly log: ReturnType<typeof recordingLog>;
  readonly settings: { -readonly [Key in keyof LicenseSettings]: LicenseSettings[Key] };
  /** Of the daemon that runs now. */
  readonly service: LicenseService;
  /** A new daemon on the same files. */
  restart(): Promise<void>;
  renew(account: string, password: string, level?: string): Promise<void>;
  advance(durationMs: number): Promise<void>;
}

export interface GuestOptions {
  readonly accountServer?: string;
  readonly clock?: VirtualClock;
  /** Starts as a copy of this one's disk. */
  readonly copyOf?: LicensedGuest;
  /** Before the daemon starts. */
  readonly prepare?: (stateDir: string) => void;
}

export async function startGuest(options: GuestOptions = {}): Promise<LicensedGuest> {
  const directory = mkdtempSync(join(FAST_DIRECTORY, 'license-guest-'));
  const stateDir = join(directory, 'license');
  const keysDir = join(directory, 'license-keys.d');
  mkdirSync(keysDir);
  writeFileSync(join(keysDir, 'vendor-1.pem'), pair.publicPem);
  if (options.copyOf !== undefined)
    cpSync(join(options.copyOf.directory, 'license'), stateDir, { recursive: true });
  options.prepare?.(stateDir);
  const clock = options.clock ?? virtualClock(START_MS);
  const gate = createFreezeGate();
  const log = recordingLog();
  const settings = { keysDir, accountServer: options.accountServer ?? null, caFile: null };

  function createService(): LicenseService {
    return createLicenseService({
      stateDir,
      settings: () => settings,
      gate,
      log,
      agentVersion: '1.2.3',
      clock,
      timeLimitMs: 2000,
    });
  }

  let service = createService();
  await service.start();
  return {
    directory,
    stateFile: join(stateDir, 'license.state'),
    keysDir,
    clock,
    gate,
    log,
    settings,
    get service() {
      return service;
    },
    async restart() {
      await service.stop();
      service = createService();
      await service.start();
    },
    renew: (account, password, level = '') =>
      service.renew({ account, password: Buffer.from(password), level }),
    advance: (durationMs) => clock.advance(durationMs, () => service.settled()),
    async [Symbol.asyncDispose]() {
      await service.stop();
      rmSync(directory, { recursive: true });
    },
  };
}

type TokenFields = Message<'LicenseToken'>;

/** A paid p10 from {@link START_MS} on, renewal in 30 days, deadline in 60. */
export function tokenFields(systemId: string, changes: Partial<TokenFields> = {}): TokenFields {
  const start = START_MS / 1000;
  return {
    systemId,
    level: 'p10',
    kind: 'paid',
    serial: 1,
    issuedAt: start,
    trialEndsAt: 0,
    nextRenewalAt: start + 30 * 86_400,
    deadlineAt: start + 60 * 86_400,
    accountHint: '',
    ...changes,
  };
}

/** The file of such a token. */
export async function tokenFile(
  systemId: string,
  changes: Partial<TokenFields> = {},
  key: SigningKey = VENDOR_KEY,
): Promise<Uint8Array> {
  return encodeToken(await signToken(tokenFields(systemId, changes), key));
}

export const TRIAL = { kind: 'trial', trialEndsAt: START_MS / 1000 + 60 * 86_400 } as const;
export const RELEASED = {
  kind: 'released',
  level: 'free',
  nextRenewalAt: 0,
  deadlineAt: 0,
} as const;
