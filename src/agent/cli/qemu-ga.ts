/**
 * `chr-agent qemu-ga`: stands in for the qemu-ga binary, with its options, configuration file, messages and exit statuses
 * (spec qemu-ga.md section 7).
 */
import { accessSync, closeSync, constants, openSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { KeyFileError } from '../../protocols/key-file.ts';
import {
  dumpQgaOptions,
  parseQgaCommandLine,
  QGA_DEFAULT_CONFIG_PATH,
  QGA_METHODS,
  QGA_VERSION,
  type QgaCommandLine,
  type QgaOptions,
  QgaOptionsError,
  type QgaSettings,
  readQgaConfigFile,
  resolveQgaOptions,
} from '../../protocols/qemu-ga/options.ts';
import { type Config, defaultConfig } from '../config.ts';
import { daemonIsUp, isDaemonized, leaveSurroundings, startDaemon } from '../daemonize.ts';
import { checkPidFile, type PidFile, PidFileError, writePidFile } from '../pid-file.ts';
import { qemuGaConfig } from '../qemu-ga-config.ts';
import type { CliContext, Subcommand } from './command.ts';

/** qemu-ga knows only these two. */
const SUCCESS = 0;
const FAILURE = 1;

const HELP = `Usage: chr-agent qemu-ga [-m METHOD -p PATH] [OPTIONS]
A QEMU guest agent with the options and the behaviour of qemu-ga ${QGA_VERSION}.

  -c, --config PATH        configuration file (default $QGA_CONF, else ${QGA_DEFAULT_CONFIG_PATH})
  -m, --method METHOD      one of ${QGA_METHODS.join(', ')} (default virtio-serial)
  -p, --path PATH          device or socket path, CID:PORT for vsock-listen
  -l, --logfile FILE       append the log to FILE (default stderr)
  -f, --pidfile FILE       with -d: write the process id to FILE (default /var/run/qemu-ga.pid)
  -F, --fsfreeze-hook[=PATH]
                           run PATH (default /etc/qemu/fsfreeze-hook) with 'freeze' or 'thaw'; -FPATH without a space
  -t, --statedir DIR       state directory (default /var/run)
  -v, --verbose            log everything
  -d, --daemonize          become a daemon
  -b, --block-rpcs LIST    comma-separated commands to refuse; 'help' lists all commands
  -a, --allow-rpcs LIST    comma-separated commands to serve, no others
  -D, --dump-conf          print the options in force as a configuration file
  -r, --retry-path         wait for a device that is missing, and reopen one that fails
  -V, --version            print the version
  -h, --help               this text
`;

type Outcome = { readonly options: QgaOptions } | { readonly exitStatus: number };

export const qemuGa: Subcommand = async (argv, context) => {
  const commandLine = parseQgaCommandLine(argv);
  if (commandLine.kind !== 'settings') return answer(commandLine, context);
  const loaded = load(commandLine.settings, commandLine.configPath, context);
  if ('exitStatus' in loaded) return loaded.exitStatus;
  if (commandLine.dump) {
    context.out(dumpQgaOptions(loaded.options));
    return SUCCESS;
  }
  return serve(loaded.options, context);
};

async function answer(
  commandLine: Exclude<QgaCommandLine, { kind: 'settings' }>,
  context: CliContext,
): Promise<number> {
  switch (commandLine.kind) {
    case 'help':
      context.out(HELP);
      return SUCCESS;
    case 'version':
      context.out(`QEMU Guest Agent ${QGA_VERSION}\n`);
      return SUCCESS;
    case 'list-commands': {
      const { commandNames } = await import('../../protocols/qemu-ga/commands/index.ts');
      context.out(commandNames().join('\n').concat('\n'));
      return SUCCESS;
    }
    case 'error':
      context.err(`qemu-ga: ${commandLine.message}\n`);
      context.out("Unknown option, try 'chr-agent qemu-ga --help' for more information.\n");
      return FAILURE;
  }
}

/** Reads the configuration file and joins it with the command line; what is wrong is printed. */
function load(settings: QgaSettings, configPath: string | null, context: CliContext): Outcome {
  const path = configPath ?? (context.env.QGA_CONF || QGA_DEFAULT_CONFIG_PATH);
  try {
    const file = readConfigFile(path, configPath !== null);
    return { options: resolveQgaOptions(file, settings) };
  } catch (error) {
    if (error instanceof QgaOptionsError) return fail(error.message, context);
    const why = error instanceof KeyFileError ? error.message : systemErrorText(error);
    return fail(`error loading configuration from path: ${path}, ${why}`, context);
  }
}

function readConfigFile(path: string, mustExist: boolean): QgaSettings | null {
  if (!mustExist && statSync(path, { throwIfNoEntry: false }) === undefined) return null;
  return readQgaConfigFile(readFileSync(path));
}

async function serve(options: QgaOptions, context: CliContext): Promise<number> {
  const daemonized = isDaemonized(process.env);
  let pidFile: PidFile | undefined;
  let config: Config;
  try {
    config = qemuGaConfig(options, defaultConfig());
    checkDirectory(options.statedir);
    if (config.agent.logFile !== null) checkLogFile(config.agent.logFile);
    if (options.daemon) {
      if (!daemonized) return await becomeDaemon(options, context);
      pidFile = writePidFile(options.pidfile, process.pid);
    }
  } catch (error) {
    if (error instanceof QgaOptionsError || error instanceof PidFileError) {
      return fail(error.message, context).exitStatus;
    }
    throw error;
  }
  if (daemonized) {
    leaveSurroundings();
    daemonIsUp();
  }
  try {
    const { runDaemon } = await import('../daemon.ts');
    // qemu-ga reads its configuration once
    return await runDaemon({ config, configPath: null, dev: false, role: 'qemu-ga', reload: () => config });
  } finally {
    pidFile?.remove();
  }
}

async function becomeDaemon(options: QgaOptions, context: CliContext): Promise<number> {
  checkPidFile(options.pidfile);
  checkDirectory(dirname(options.pidfile));
  const failed = await startDaemon(process.env);
  return failed === null
    ? SUCCESS
    : fail(`the daemon ended at once with exit status ${failed}`, context).exitStatus;
}

function checkDirectory(path: string): void {
  try {
    if (!statSync(path).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' });
    accessSync(path, constants.W_OK);
  } catch (error) {
    throw new QgaOptionsError(`unable to use the directory ${path}: ${systemErrorText(error)}`);
  }
}

function checkLogFile(path: string): void {
  try {
    closeSync(openSync(path, 'a', 0o600));
  } catch (error) {
    throw new QgaOptionsError(`unable to open specified log file ${path}: ${systemErrorText(error)}`);
  }
}

function fail(message: string, context: CliContext): { exitStatus: number } {
  context.err(`qemu-ga: ${message}\n`);
  return { exitStatus: FAILURE };
}

function systemErrorText(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}
