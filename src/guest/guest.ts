/** The guest as the protocols see it: facts and actions, built once by the composition root. */
import { hostname } from 'node:os';
import type { Log } from '../log.ts';
import type { NativeAddon } from '../native/addon.ts';
import { type Actions, createActions } from './actions.ts';
import { type Clock, createClock } from './clock.ts';
import { type NetworkInterface, networkInterfaces } from './network.ts';
import { type OsFacts, osFacts } from './os.ts';

export interface Guest {
  /** @throws {NetworkFactsError} */
  networkInterfaces(): NetworkInterface[];
  os(): OsFacts;
  /** gethostname(2), not cached. */
  hostname(): string;
  readonly clock: Clock;
  readonly actions: Actions;
}

export interface GuestOptions {
  native: NativeAddon;
  log: Log;
  /** CHR_AGENT_NO_ACTIONS=1, or a development run. */
  noActions: boolean;
  /** CHR_AGENT_TEST_ROOT, null if not set. */
  testRoot: string | null;
  /** QGA_OS_RELEASE, null if not set. */
  osReleaseFile: string | null;
  /** TZ, undefined if not set. */
  tzVariable: string | undefined;
}

export function createGuest(options: GuestOptions): Guest {
  const { native, log, noActions, testRoot, osReleaseFile, tzVariable } = options;
  return {
    networkInterfaces: () => networkInterfaces(native),
    os: () => osFacts({ releaseFile: osReleaseFile }),
    hostname,
    clock: createClock({ native, tzVariable }),
    actions: createActions({ native, log, noActions, testRoot }),
  };
}
