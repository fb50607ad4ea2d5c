/** What the guest has told the host by RPC: variables, guest information, capabilities, power and backup events; vmware.md 6, 8, 9. */
import { decodeDiskJson, decodeDiskList, type GuestDisk } from './codecs/disks.ts';
import { decodeNics, type GuestNics } from './codecs/nics.ts';
import { decodeOsDetails, type OsDetails } from './codecs/os-details.ts';
import { decodeStatistics, type Statistics } from './codecs/statistics.ts';
import { done, type Rpci, type RpcRequest, refusal } from './rpci.ts';

/** Types of SetGuestInfo. */
export const GUEST_INFO = {
  DNS_NAME: 1,
  IP_ADDRESS: 2,
  DISKS: 3,
  BUILD_NUMBER: 4,
  OS_NAME_FULL: 5,
  OS_NAME: 6,
  UPTIME: 7,
  STATISTICS: 8,
  NICS: 9,
  NICS_V3: 10,
  OS_DETAILS: 11,
} as const;

export interface PowerStatus {
  readonly success: boolean;
  /** 1 halt, 2 reboot, 3 power on, 4 resume, 5 suspend. */
  readonly state: number;
}

export interface BackupEvent {
  readonly name: string;
  readonly code: number;
  readonly text: string;
}

export interface GuestInfo {
  /** Values by type, as sent. */
  readonly values: ReadonlyMap<number, Buffer>;
  /** Value of a type that is text. */
  text(type: number): string | undefined;
  nics(): GuestNics | undefined;
  osDetails(): OsDetails | undefined;
  disks(): readonly GuestDisk[] | undefined;
  statistics(): Statistics | undefined;
}

export interface GuestReports {
  readonly variables: Map<string, string>;
  readonly guestInfo: GuestInfo;
  /** `tools.capability.NAME` → arguments; also `tools.set.version`, `tools.set.versiontype`, `vmx.capability.NAME`. */
  readonly capabilities: ReadonlyMap<string, string>;
  readonly log: readonly string[];
  readonly powerStatuses: readonly PowerStatus[];
  readonly backupEvents: readonly BackupEvent[];
  /** The answer of machine.id.get; null: none set. */
  machineId: string | null;
  /** Refuse vmbackup.eventSet from a caller without raised I/O privilege. */
  backupNeedsPrivilege: boolean;
  /** The host has lost the guest's state, as before a reset. */
  forget(): void;
}

const TWO_BLANKS = /^SetGuestInfo {2}(\d+) /;

const withoutNul = (value: Buffer): string => value.toString('utf8').replace(/\0$/, '');

export function createGuestReports(rpci: Rpci): GuestReports {
  const variables = new Map<string, string>();
  const values = new Map<number, Buffer>();
  const capabilities = new Map<string, string>();
  const log: string[] = [];
  const powerStatuses: PowerStatus[] = [];
  const backupEvents: BackupEvent[] = [];
  let diskJson: string | undefined;

  const setGuestInfo = ({ bytes }: RpcRequest) => {
    const head = TWO_BLANKS.exec(bytes.toString('latin1', 0, 24));
    if (head?.[1] === undefined) return refusal('SetGuestInfo: bad request');
    values.set(Number(head[1]), bytes.subarray(head[0].length));
    return done();
  };

  const setVariable = ({ args }: RpcRequest) => {
    const blank = args.indexOf(' ');
    if (blank < 0 || !args.startsWith('guestinfo.')) return refusal('Invalid argument');
    variables.set(args.slice(0, blank), args.slice(blank + 1));
    return done();
  };

  const getVariable = ({ args }: RpcRequest) => {
    const value = variables.get(args.trim());
    return value === undefined ? refusal('No value found') : done(value);
  };

  const powerStatus = ({ args }: RpcRequest) => {
    const [success, state] = args.split(' ');
    powerStatuses.push({ success: success === '1', state: Number(state) });
    return done();
  };

  const backupEvent = ({ args, privileged }: RpcRequest) => {
    if (reports.backupNeedsPrivilege && !privileged)
      return refusal('Guest is not privileged to send this message');
    const match = /^(\S+) (\d+) (.*)$/s.exec(args);
    if (match === null) return refusal('Invalid argument');
    const [, name = '', code, text = ''] = match;
    backupEvents.push({ name, code: Number(code), text });
    return done();
  };

  const keep = (request: RpcRequest) => {
    capabilities.set(request.name, request.args);
    return done();
  };

  for (const name of [
    'hgfs_server',
    'statechange',
    'softpowerop_retry',
    'features',
    'guest_conf_directory',
    'guest_temp_directory',
    'auto_upgrade',
    'copypaste_version',
    'display_topology_set',
    'resolution_set',
    'resolution_server',
    'color_depth_set',
  ])
    rpci.handle(`tools.capability.${name}`, keep);
  for (const name of ['tools.set.version', 'tools.set.versiontype', 'vmx.capability.unified_loop'])
    rpci.handle(name, keep);

  rpci.handle('SetGuestInfo', setGuestInfo);
  rpci.handle('SetGuestDiskInfo', ({ args }) => {
    diskJson = args;
    return done();
  });
  rpci.handle('info-set', setVariable);
  rpci.handle('info-get', getVariable);
  rpci.handle('log', ({ args }) => {
    log.push(args);
    return done();
  });
  rpci.handle('machine.id.get', () =>
    reports.machineId === null ? refusal('No machine id') : done(reports.machineId),
  );
  rpci.handle('tools.os.statechange.status', powerStatus);
  rpci.handle('vmbackup.eventSet', backupEvent);
  rpci.handle('Run_Program_Done', () => done());

  const decoded =
    <V>(decode: (value: Buffer) => V, ...types: number[]) =>
    (): V | undefined => {
      const value = types.map((type) => values.get(type)).find((candidate) => candidate !== undefined);
      return value === undefined ? undefined : decode(value);
    };

  const reports: GuestReports = {
    variables,
    capabilities,
    log,
    powerStatuses,
    backupEvents,
    machineId: null,
    backupNeedsPrivilege: false,
    guestInfo: {
      values,
      text: (type) => decoded(withoutNul, type)(),
      nics: decoded(decodeNics, GUEST_INFO.NICS_V3, GUEST_INFO.NICS),
      osDetails: decoded(decodeOsDetails, GUEST_INFO.OS_DETAILS),
      disks: () =>
        diskJson === undefined ? decoded(decodeDiskList, GUEST_INFO.DISKS)() : decodeDiskJson(diskJson),
      statistics: decoded(decodeStatistics, GUEST_INFO.STATISTICS),
    },
    forget() {
      values.clear();
      capabilities.clear();
      diskJson = undefined;
    },
  };
  return reports;
}
