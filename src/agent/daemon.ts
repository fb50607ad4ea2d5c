/** The daemon: composition root and lifecycle. Everything is built here and handed down; nothing is a global. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createFreezeGate } from '../guest/freeze-gate.ts';
import { createGuest } from '../guest/guest.ts';
import { createLicenseService } from '../license/service.ts';
import type { Log } from '../log.ts';
import { helperPath, native } from '../native/index.ts';
import { releaseMemory } from '../native/release-memory.ts';
import { createReportClock } from '../report-clock.ts';
import { findOwnCgroup } from '../scripts/cgroup.ts';
import { openHookSettings } from '../scripts/hook-settings.ts';
import { createHooks } from '../scripts/hooks.ts';
import { createJobs, type ScriptEngine } from '../scripts/jobs.ts';
import { EXIT } from './cli/exit-codes.ts';
import type { Config } from './config.ts';
import type { ControlServer } from './control.ts';
import { hookHandlers, jobSummaries, licenseHandlers } from './control-handlers.ts';
import { detect } from './detect.ts';
import { createLog, type LogLevel } from './log.ts';
import { openLogFile } from './log-file.ts';
import { createProtocolTable, type ProtocolTable } from './protocol-table.ts';
import type { RunningProtocol } from './protocols.ts';
import { openQuiescing } from './quiescing.ts';
import { createShaping } from './shaping.ts';
import type { Status } from './status.ts';
import { VERSION } from './version.ts';

export interface DaemonOptions {
  config: Config;
  /** null: all is default. */
  configPath: string | null;
  dev: boolean;
  /** The whole agent, or what `chr-agent qemu-ga` is: one protocol, no license and no shaper. */
  role: 'agent' | 'qemu-ga';
  /** Reads the configuration again. @throws {ConfigError} */
  reload(): Config;
  /** Instead of the configuration's. */
  logLevel?: LogLevel;
}

const CONTROL_DELAY_MS = 20;
/** After which all that belongs to the start is done; later is not better, since the guest is short of memory while it boots. */
const SETTLED_AFTER_MS = 2_000;

/** Runs until a signal ends it. @returns the exit status. */
export async function runDaemon(options: DaemonOptions): Promise<number> {
  let { config } = options;
  const startedAt = new Date().toISOString();
  const gate = createFreezeGate();
  const log = createLog(
    options.logLevel ?? config.agent.logLevel,
    gate,
    ...(config.agent.logFile === null ? [] : [openLogFile(config.agent.logFile)]),
  );
  dieOfBugs(log);
  const signals = listenToSignals();
  const guest = createGuest({
    native,
    log,
    noActions: process.env.CHR_AGENT_NO_ACTIONS === '1',
    testRoot: process.env.CHR_AGENT_TEST_ROOT ?? null,
    osReleaseFile: process.env.QGA_OS_RELEASE ?? null,
    tzVariable: process.env.TZ,
  });
  // before anything is written: what is still frozen would hold it up
  const quiescing = await openQuiescing({ native, log, gate, guest, helperPath, config: () => config });
  makeDirectories(config);
  const detection = detect(native);
  const scripts = createJobs({
    native,
    helperPath,
    log,
    gate,
    interpreter: config.scripts.interpreter,
    filesDir: config.scripts.filesDir,
    runtimeDir: join(config.agent.runtimeDir, 'scripts'),
    stateDir: config.agent.stateDir,
    spillDir: join(config.agent.stateDir, 'spill'),
    cgroup: findOwnCgroup(),
    graceMs: config.scripts.graceMs,
  });
  const hookSettings = openHookSettings({ stateDir: config.agent.stateDir, gate, log });
  const hooks = createHooks({
    jobs: scripts,
    gate,
    log,
    hooksDir: config.freeze.hooksDir,
    filesDir: config.scripts.filesDir,
    isEnabled: hookSettings.isEnabled,
  });
  const quiescer = quiescing(hooks);
  const clock = createReportClock();
  const license =
    options.role === 'agent'
      ? createLicenseService({
          stateDir: config.license.stateDir,
          settings: () => config.license,
          gate,
          log,
          agentVersion: VERSION,
          releaseMemory: () => releaseMemory(native),
        })
      : null;
  const shaping = createShaping({ native, log, gate, guest, clock, license, detection });
  const protocols = createProtocolTable(
    { native, log, gate, guest, quiescer, scripts, hooks, clock },
    detection,
  );
  const running = await protocols.update(config);
  const control = await startControl();
  void license?.start();
  void shaping.update(config);
  log.info(
    `chr-agent ${VERSION} started on ${detection.hypervisor}, ${options.configPath ?? 'default configuration'}`,
  );

  const settling = setTimeout(() => releaseMemory(native), SETTLED_AFTER_MS).unref();
  signals.onReload(reload);
  const outcome = await Promise.race([signals.ended, failureOf(running, config)]);
  signals.stop();
  clearTimeout(settling);
  if (outcome.kind === 'signal') log.info(`${outcome.name}: stopping`);
  if (outcome.kind === 'failed') log.error(outcome.problem);
  // while scripts may still run: a freeze that is given up has a hook
  await quiescer.stop();
  shaping.close();
  await license?.stop();
  await shutDown(scripts, protocols, control, config.agent.drainLimitMs);
  return outcome.kind === 'failed' ? EXIT.failure : EXIT.ok;

  /** Comes a moment later, so that a host that waits for the agent is answered first. */
  async function startControl(): Promise<ControlServer | null> {
    await delay(CONTROL_DELAY_MS);
    const { startControlServer } = await import('./control.ts');
    try {
      const handlers = {
        status,
        'freeze-status': () => quiescer.status,
        jobs: () => jobSummaries(scripts),
        shaper: () => shaping.status(),
        ...hookHandlers(hookSettings, gate),
        ...(license !== null && licenseHandlers(license)),
      };
      return await startControlServer({ path: config.agent.controlSocket, log, handlers });
    } catch (error) {
      // the agent works without it; `status` will say that it is not running
      log.error(error instanceof Error ? error.message : String(error));
      return null;
    }
  }

  function status(): Status {
    const jobs = scripts.list();
    const runningJobs = jobs.filter((job) => job.status.state === 'running').length;
    const { rss, heapUsed } = process.memoryUsage();
    return {
      version: VERSION,
      pid: process.pid,
      startedAt,
      hypervisor: detection.hypervisor,
      protocols: protocols.status(),
      jobs: { running: runningJobs, finished: jobs.length - runningJobs },
      frozen: gate.frozen,
      license: license && { level: license.level(), state: license.state() },
      memory: { residentBytes: rss, heapBytes: heapUsed },
    };
  }

  function reload(): void {
    if (gate.frozen) {
      log.info('reload: after the thaw');
      void gate.whenThawed().then(reload);
      return;
    }
    let next: Config;
    try {
      next = options.reload();
    } catch (error) {
      log.error(
        `reload: ${error instanceof Error ? error.message : String(error)}; the old configuration stays`,
      );
      return;
    }
    if (needsRestart(next) !== needsRestart(config)) {
      log.warning('reload: changed directories, log file, control socket or script settings need a restart');
    }
    config = next;
    log.setLevel(options.logLevel ?? config.agent.logLevel);
    protocols
      .update(config)
      .then(() => license?.reload())
      .then(() => shaping.update(config))
      .then(() => log.info('configuration reloaded'))
      .catch((error: unknown) => log.error(`reload: ${String(error)}`));
  }
}

/** What is read once at the start. */
function needsRestart({ agent, license, scripts, freeze }: Config): string {
  const { logLevel: _logLevel, drainLimitMs: _drainLimitMs, ...fixed } = agent;
  return JSON.stringify([
    fixed,
    license.stateDir,
    scripts.interpreter,
    scripts.filesDir,
    scripts.graceMs,
    freeze.hooksDir,
  ]);
}

function makeDirectories({ agent }: Config): void {
  mkdirSync(agent.runtimeDir, { recursive: true, mode: 0o755 });
  mkdirSync(agent.stateDir, { recursive: true, mode: 0o755 });
}

/** A bug ends the daemon, and the service manager starts it again: going on in an unknown state helps nobody. */
function dieOfBugs(log: Log): void {
  const die = (error: unknown) => {
    log.error(`bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    process.exit(EXIT.failure);
  };
  process.on('uncaughtException', die);
  process.on('unhandledRejection', die);
}

type Outcome = { kind: 'signal'; name: string } | { kind: 'ended' } | { kind: 'failed'; problem: string };

/** From the first moment: a signal while the daemon starts is obeyed once it has started. */
function listenToSignals(): { ended: Promise<Outcome>; onReload(reload: () => void): void; stop(): void } {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const end = (name: NodeJS.Signals) => resolve({ kind: 'signal', name });
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  let reload = (): void => undefined;
  process.on('SIGHUP', () => reload());
  return {
    ended: promise,
    // the configuration was read just now: a request before this has nothing to do
    onReload: (handler) => {
      reload = handler;
    },
    // a second signal while draining ends it at once
    stop: () => {
      for (const name of ['SIGTERM', 'SIGINT'] as const) process.off(name, end);
    },
  };
}

/** As qemu-ga without --retry-path: the end of the channel is the end of the program. */
function failureOf(running: readonly RunningProtocol[], config: Config): Promise<Outcome> {
  if (config.qemuGa.retryPath) return new Promise(() => undefined);
  return Promise.race(running.map((protocol) => protocol.ended)).then(
    () => ({ kind: 'ended' }),
    (error: unknown) => ({ kind: 'failed', problem: error instanceof Error ? error.message : String(error) }),
  );
}

async function shutDown(
  scripts: ScriptEngine,
  protocols: ProtocolTable,
  control: ControlServer | null,
  drainLimitMs: number,
): Promise<void> {
  // hosts may still ask what became of their scripts
  await scripts.drain(drainLimitMs);
  await protocols.stop();
  await control?.close();
  await scripts.close();
}
