/** Guest operations put together for one of the profiles. */
import { join } from 'node:path';
import { accountNames } from '../../../guest/accounts.ts';
import { createAuthentication, type LoginPolicy } from '../../../guest/authentication.ts';
import type { FreezeGate } from '../../../guest/freeze-gate.ts';
import type { Guest } from '../../../guest/guest.ts';
import { createUserFiles } from '../../../guest/user-files.ts';
import type { Log } from '../../../log.ts';
import type { NativeAddon } from '../../../native/addon.ts';
import type { ScriptEngine } from '../../../scripts/jobs.ts';
import type { VmtoolsPart } from '../part.ts';
import type { Tell } from '../tell.ts';
import { setRealTimer } from '../timer.ts';
import type { ToolsConfFile } from '../tools-conf.ts';
import type { ToolsVersion } from '../tools-version.ts';
import { createApiJobs } from './api-jobs.ts';
import { chrOperations } from './chr-operations.ts';
import { createGuestOperations } from './guest-ops.ts';
import { openJobIds } from './job-ids.ts';
import { createResultPieces } from './pieces.ts';
import { createRunReport } from './run-report.ts';
import { toolsState } from './tools-state.ts';
import { upstreamFiles } from './upstream-files.ts';
import { upstreamPrograms } from './upstream-programs.ts';
import { createUserPrograms } from './user-programs.ts';

/** What the configuration says of guest operations, and the places they need. */
export interface GuestOperationsSettings {
  readonly policy: LoginPolicy;
  readonly scriptTimeLimitMs: number;
  readonly filesDir: string;
  readonly stateDir: string;
  /** The program of native/helper. */
  readonly helperPath: string;
  /** Prefix of /etc with the accounts, for tests. */
  readonly accountsRoot?: string;
}

export interface ProfileOptions {
  readonly native: NativeAddon;
  readonly log: Log;
  readonly gate: FreezeGate;
  readonly guest: Guest;
  readonly scripts: ScriptEngine;
  readonly tell: Tell;
  readonly toolsConf: ToolsConfFile;
  readonly version: ToolsVersion;
  readonly compat: 'chr' | 'upstream';
  readonly settings: GuestOperationsSettings;
}

export function guestOperationsOf(options: ProfileOptions): VmtoolsPart {
  const { native, log, gate, guest, scripts, tell, toolsConf, version, compat, settings } = options;
  const { policy, accountsRoot } = settings;
  const report = createRunReport(tell, gate);
  const pieces = createResultPieces(Date.now);
  const authentication = createAuthentication({
    native,
    log,
    gate,
    policy,
    ...(accountsRoot !== undefined && { root: accountsRoot }),
  });
  const common = {
    authentication,
    toolsState: () => toolsState({ os: guest.os(), hostname: guest.hostname(), version, compat }),
    toolsConf,
    gate,
    log,
  };
  if (compat === 'upstream') {
    const programs = createUserPrograms({
      programs: scripts,
      helperPath: settings.helperPath,
      setTimer: setRealTimer,
    });
    const files = createUserFiles(native, settings.helperPath);
    const { bootTimeSeconds } = guest;
    const userNames = () => gate.pass(() => accountNames(accountsRoot));
    return createGuestOperations({
      ...common,
      operations: {
        ...upstreamPrograms({ programs, files, pieces, report, gate, userNames, bootTimeSeconds }),
        ...upstreamFiles({ files, gate }),
      },
      stop: () => programs.stop(),
    });
  }
  const jobs = createApiJobs({
    jobs: scripts,
    ids: openJobIds(join(settings.stateDir, 'vix-jobs'), log),
    gate,
    log,
    filesDir: settings.filesDir,
    timeLimitMs: settings.scriptTimeLimitMs,
    setTimer: setRealTimer,
  });
  return createGuestOperations({
    ...common,
    operations: chrOperations({ jobs, pieces, report, gate }),
    stop: () => jobs.stop(),
  });
}
