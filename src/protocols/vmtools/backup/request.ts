/**
 * What the host wants of a quiesce operation: the arguments of `vmbackup.start` and the XDR of `vmbackup.startWithOpts`
 * (spec vmware.md section 8). Pure.
 */
import { matcher } from '../guest-info/selection.ts';
import type { ToolsConf } from '../tools-conf.ts';

export interface BackupRequest {
  /** A manifest is to be written and told of, if file systems were frozen. */
  readonly wantsManifest: boolean;
  /** false: nothing is frozen, all that is dirty is only written (`sync`). */
  readonly freezes: boolean;
  readonly runsScripts: boolean;
  /** For the scripts of open-vm-tools. */
  readonly scriptArgument: string | null;
  /** From the start to the snapshot; 1 ms to 2^31-1 ms. */
  readonly timeLimitMs: number;
  /** Only file systems mounted there; null: all. */
  readonly mountPoints: readonly string[] | null;
}

/** What cannot be served; the text is for the host. */
export class BadBackupRequest extends Error {
  override name = 'BadBackupRequest';
}

/** open-vm-tools' own. */
const DEFAULT_LIMIT_SECONDS = 900;
/** What a timer takes. */
const MAX_LIMIT_MS = 2 ** 31 - 1;

const VERSION = 1;
/** The same and more, of Windows. */
const WINDOWS_VERSION = 2;
const MAX_SCRIPT_ARGUMENT_BYTES = 256;
const MAX_DISK_UUIDS_BYTES = 3200;

/**
 * @param argument what follows the name
 * @param compat the reference runs no scripts if no argument is given at all
 */
export function plainRequest(argument: string, conf: ToolsConf, compat: 'chr' | 'upstream'): BackupRequest {
  const [, manifests, rest = argument] = /^ *([-+]?\d+) *(.*)$/s.exec(argument) ?? [];
  const volumes = rest.trim();
  const isBare = argument.trim() === '';
  return {
    wantsManifest: manifests !== undefined && Number(manifests) !== 0,
    // as the reference: its quiesceApps and quiesceFS do not matter here
    freezes: conf.flag('vmbackup', 'enableSyncDriver') ?? true,
    runsScripts: compat === 'upstream' && isBare ? false : (conf.flag('vmbackup', 'execScripts') ?? true),
    scriptArgument: conf.text('vmbackup', 'scriptArg') || null,
    timeLimitMs: limitMs(conf.number('vmbackup', 'timeout') ?? 0),
    mountPoints: volumes.startsWith('/') ? volumes.split(/ +/) : null,
  };
}

/**
 * @param bytes the XDR
 * @throws {BadBackupRequest}
 */
export function requestWithOptions(bytes: Buffer, conf: ToolsConf): BackupRequest {
  const xdr = reader(bytes);
  const version = xdr.u32();
  if (version !== VERSION && version !== WINDOWS_VERSION) throw damaged();
  if (xdr.u32() === 0) throw damaged();
  const wantsManifest = xdr.flag();
  const quiescesApplications = xdr.flag();
  const quiescesFileSystems = xdr.flag();
  // whether the snapshot will be written to, which makes no difference here
  xdr.flag();
  const runsScripts = xdr.flag();
  const scriptArgument = xdr.text(MAX_SCRIPT_ARGUMENT_BYTES);
  const limitSeconds = xdr.u32();
  // which disks: all are frozen, as by the reference
  xdr.text(MAX_DISK_UUIDS_BYTES);
  if (version === WINDOWS_VERSION) throw new BadBackupRequest('Incompatible quiesce parameter version');
  return {
    wantsManifest,
    freezes:
      (quiescesApplications || quiescesFileSystems) && (conf.flag('vmbackup', 'enableSyncDriver') ?? true),
    runsScripts,
    // as the reference: an empty one is one
    scriptArgument,
    timeLimitMs: limitMs(limitSeconds),
    mountPoints: null,
  };
}

/** The file systems to freeze: null for all, else mount points. `mounted` is asked only if some are excluded. */
export function requestedMountPoints(
  { mountPoints }: BackupRequest,
  conf: ToolsConf,
  mounted: () => readonly string[],
): readonly string[] | null {
  const excluded = conf.text('vmbackup', 'excludedFileSystems');
  if (!excluded) return mountPoints;
  const isExcluded = matcher(excluded);
  return (mountPoints ?? mounted()).filter((mountPoint) => !isExcluded(mountPoint));
}

function limitMs(seconds: number): number {
  return Math.min((seconds > 0 ? seconds : DEFAULT_LIMIT_SECONDS) * 1000, MAX_LIMIT_MS);
}

function damaged(): BadBackupRequest {
  return new BadBackupRequest('XDR deserialization failed.');
}

/** RFC 4506 as the reference reads it: any number but 0 is true, and what follows the last field does not matter. */
function reader(bytes: Buffer) {
  let at = 0;
  const take = (size: number): Buffer => {
    if (at + size > bytes.length) throw damaged();
    at += size;
    return bytes.subarray(at - size, at);
  };
  const u32 = (): number => take(4).readUInt32BE();
  return {
    u32,
    flag: () => u32() !== 0,
    text(maxBytes: number): string {
      const size = u32();
      if (size > maxBytes) throw damaged();
      const value = take(size);
      take((4 - (size % 4)) % 4);
      const end = value.indexOf(0);
      return value.toString('utf8', 0, end < 0 ? size : end);
    },
  };
}
