/** The session as the host drives it: announcement, reset, registration, options, end (spec vmware.md section 4.2). */
import type { FreezeGate } from '../../guest/freeze-gate.ts';
import type { Log } from '../../log.ts';
import { announceVersion, registerCapabilities, withdrawCapabilities } from './capabilities.ts';
import { setOptionCommand } from './options.ts';
import type { VmtoolsPart } from './part.ts';
import { accepted, type Rpci, type TcloHandler } from './rpc.ts';
import { commandTable, type TcloCommand } from './tclo-commands.ts';
import type { Tell } from './tell.ts';
import type { ToolsConfFile } from './tools-conf.ts';
import type { ToolsVersion } from './tools-version.ts';

export interface SessionOptions {
  readonly rpci: Rpci;
  readonly tell: Tell;
  readonly log: Log;
  readonly gate: FreezeGate;
  readonly version: ToolsVersion;
  readonly configurationDirectory: string;
  readonly toolsConf: ToolsConfFile;
  /** Hundredths of seconds. @throws {SystemCallError} */
  uptimeHundredths(): number;
  readonly parts: readonly VmtoolsPart[];
}

export interface Session {
  /** Executes the host's commands, one at a time also when a new channel has come while one was under way. */
  readonly handler: TcloHandler;
  /** Tells the host which tools these are. A host that does not hear it now is told at its next reset. Never rejects. */
  announce(): Promise<void>;
  /** Takes back what the host was told. Never rejects. */
  withdraw(): Promise<void>;
}

export function createSession(options: SessionOptions): Session {
  const { rpci, tell, log, gate, version, parts } = options;
  let isAnnounced = false;
  let announcing: Promise<void> = Promise.resolve();
  let isLogged = false;

  function announce(): Promise<void> {
    announcing = announcing.then(async () => {
      if (!isAnnounced) isAnnounced = await announceVersion(tell, version);
    });
    return announcing;
  }

  async function reset(): Promise<void> {
    log.debug('the host resets the session');
    for (const part of parts) part.onReset?.();
    await rpci.reopen();
    await announce();
    await tell('vmx.capability.unified_loop toolbox');
    if (isLogged) return;
    isLogged = true;
    await tell(`log toolbox: Version: ${version.description} (build-${version.buildNumber})`);
  }

  function uptime(): number | null {
    // it is read from a file
    if (gate.frozen) return null;
    try {
      return options.uptimeHundredths();
    } catch (error) {
      log.warning(`${String(error)}`);
      return null;
    }
  }

  async function register(): Promise<void> {
    await registerCapabilities(tell, {
      version,
      configurationDirectory: options.configurationDirectory,
      uptimeHundredths: uptime(),
      conf: await options.toolsConf.read(),
    });
    for (const part of parts) part.onRegistered?.();
  }

  const commands: Record<string, TcloCommand> = {
    Capabilities_Register: async () => {
      await register();
      return accepted();
    },
    Set_Option: setOptionCommand(parts, log),
  };
  for (const part of parts) Object.assign(commands, part.commands);

  const table = commandTable(commands, reset);
  let last: Promise<unknown> = Promise.resolve();

  return {
    handler(command) {
      const mine = last.then(() => table(command));
      last = mine.catch(() => undefined);
      return mine;
    },
    announce,
    withdraw: () => withdrawCapabilities(tell),
  };
}
