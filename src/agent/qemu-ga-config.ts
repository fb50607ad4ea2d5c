/** What qemu-ga's options mean for this agent: a {@link Config} with the `upstream` behaviour and nothing but that protocol. */
import { join, resolve } from 'node:path';
import { isQgaMethod, type QgaOptions, QgaOptionsError } from '../protocols/qemu-ga/options.ts';
import type { Config } from './config.ts';

/**
 * All files of the agent lie in `chr-agent` below the state directory, so that several agents can run with different
 * state directories; with qemu-ga's default, `/var/run`, the control socket is where `chr-agent status` looks for it.
 * @throws {QgaOptionsError} for an unknown method or a path that the method cannot have
 */
export function qemuGaConfig(options: QgaOptions, base: Config): Config {
  const { method, path } = options;
  if (!isQgaMethod(method)) throw new QgaOptionsError(`unsupported channel method/type: ${method}`);
  if (path === '') throw new QgaOptionsError('the path must not be empty');
  if (method === 'vsock-listen' && !/^\d{1,10}:\d{1,10}$/.test(path)) {
    throw new QgaOptionsError(`a vsock path is CID:PORT, not '${path}'`);
  }
  const dir = join(resolve(options.statedir), 'chr-agent');
  return {
    ...base,
    agent: {
      ...base.agent,
      logLevel: options.verbose ? 'debug' : 'warning',
      logFile: options.logfile === null ? null : resolve(options.logfile),
      stateDir: dir,
      runtimeDir: dir,
      controlSocket: join(dir, 'control.sock'),
    },
    qemuGa: {
      ...base.qemuGa,
      enabled: true,
      compat: 'upstream',
      method,
      path,
      blockRpcs: options.blockRpcs,
      allowRpcs: options.allowRpcs,
      retryPath: options.retryPath,
      fsfreezeHook: options.fsfreezeHook,
    },
    vmtools: { ...base.vmtools, enabled: false },
    xenstore: { ...base.xenstore, enabled: false },
    shaper: { ...base.shaper, enabled: false },
    freeze: { ...base.freeze, timeLimitMs: 0 },
    license: { ...base.license, stateDir: join(dir, 'license') },
    scripts: { ...base.scripts, filesDir: join(dir, 'files') },
  };
}
