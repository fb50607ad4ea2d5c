/** The license without a daemon: read from its files, which only the daemon writes. */
import { type LicenseReport, reportAt } from '../../license/report.ts';
import { emptyLicense, openLicenseStore } from '../../license/store.ts';
import { verifyStoredToken } from '../../license/stored-token.ts';
import type { Log } from '../../log.ts';
import type { Config } from '../config.ts';
import type { CliContext } from './command.ts';

/**
 * What the daemon would report.
 * @throws {Error} if there is no system id yet, or the files cannot be read
 */
export async function reportFromFiles(
  { license: { stateDir, keysDir } }: Config,
  context: CliContext,
  wallMs: number,
): Promise<LicenseReport> {
  const contents = openLicenseStore(stateDir).read();
  switch (contents.kind) {
    case 'stored': {
      const { license } = contents;
      const { token, problem } = await verifyStoredToken(license, keysDir, consoleLog(context));
      return reportAt(
        license,
        token,
        problem ?? license.renewal.problem,
        Math.max(wallMs, license.latestTimeMs),
      );
    }
    case 'lost':
      if (contents.systemId === null) break;
      return reportAt(
        emptyLicense(contents.systemId, true, wallMs),
        null,
        'the stored license is damaged or gone',
        wallMs,
      );
    case 'newer':
      throw new Error(`${stateDir}: written by a later version of chr-agent`);
    case 'empty':
      break;
  }
  throw new Error(`no license state in ${stateDir}: the daemon makes it when it starts`);
}

function consoleLog(context: CliContext): Log {
  const print = (text: string) => context.err(`chr-agent: ${text}\n`);
  return { error: print, warning: print, info() {}, debug() {} };
}
