/** The VIX commands by number (spec vmware.md section 7.4). */

export const OPCODE = {
  RUN_PROGRAM: 4,
  DELETE_FILE: 18,
  FILE_EXISTS: 19,
  RUN_SCRIPT: 46,
  GET_TOOLS_STATE: 62,
  DIRECTORY_EXISTS: 70,
  LIST_PROCESSES: 75,
  CHECK_USER_ACCOUNT: 78,
  KILL_PROCESS: 85,
  LOGOUT: 87,
  READ_VARIABLE: 88,
  WRITE_VARIABLE: 89,
  GET_FILE_INFO: 94,
  LIST_FILES: 177,
  CREATE_DIRECTORY: 178,
  MOVE_FILE: 179,
  MOVE_DIRECTORY: 180,
  CREATE_TEMPORARY_FILE: 181,
  CREATE_TEMPORARY_DIRECTORY: 182,
  SET_FILE_ATTRIBUTES: 183,
  START_PROGRAM: 185,
  LIST_PROCESSES_EX: 186,
  READ_ENVIRONMENT: 187,
  TRANSFER_FROM_GUEST: 188,
  TRANSFER_TO_GUEST: 189,
  ACQUIRE_CREDENTIALS: 190,
  RELEASE_CREDENTIALS: 191,
  VALIDATE_CREDENTIALS: 192,
  TERMINATE_PROCESS: 193,
  DELETE_FILE_EX: 194,
  DELETE_DIRECTORY: 195,
} as const;

/** Names of vSphere's operations, by which tools.conf switches them off (`[guestoperations] NAME.disabled`). */
const OPERATION_NAMES = new Map<number, string>([
  [OPCODE.START_PROGRAM, 'StartProgramInGuest'],
  [OPCODE.LIST_PROCESSES_EX, 'ListProcessesInGuest'],
  [OPCODE.TERMINATE_PROCESS, 'TerminateProcessInGuest'],
  [OPCODE.READ_ENVIRONMENT, 'ReadEnvironmentVariableInGuest'],
  [OPCODE.CREATE_DIRECTORY, 'MakeDirectoryInGuest'],
  [OPCODE.DELETE_FILE_EX, 'DeleteFileInGuest'],
  [OPCODE.DELETE_DIRECTORY, 'DeleteDirectoryInGuest'],
  [OPCODE.MOVE_DIRECTORY, 'MoveDirectoryInGuest'],
  [OPCODE.MOVE_FILE, 'MoveFileInGuest'],
  [OPCODE.CREATE_TEMPORARY_FILE, 'CreateTemporaryFileInGuest'],
  [OPCODE.CREATE_TEMPORARY_DIRECTORY, 'CreateTemporaryDirectoryInGuest'],
  [OPCODE.LIST_FILES, 'ListFilesInGuest'],
  [OPCODE.SET_FILE_ATTRIBUTES, 'ChangeFileAttributesInGuest'],
  [OPCODE.TRANSFER_FROM_GUEST, 'InitiateFileTransferFromGuest'],
  [OPCODE.TRANSFER_TO_GUEST, 'InitiateFileTransferToGuest'],
  [OPCODE.VALIDATE_CREDENTIALS, 'ValidateCredentialsInGuest'],
  [OPCODE.ACQUIRE_CREDENTIALS, 'AcquireCredentialsInGuest'],
  [OPCODE.RELEASE_CREDENTIALS, 'ReleaseCredentialsInGuest'],
]);

export function operationName(opcode: number): string | null {
  return OPERATION_NAMES.get(opcode) ?? null;
}

const KNOWN: ReadonlySet<number> = new Set(Object.values(OPCODE));
/** Those of older hosts, of the registry and of aliases (VGAuth), which nothing here serves. */
const OTHER_KNOWN: ReadonlySet<number> = new Set([
  22, 38, 58, 71, 72, 73, 74, 76, 77, 79, 84, 116, 169, 197, 198, 199, 200, 207,
]);

/** Whether VMware's tools have such a command. */
export function isKnownOpcode(opcode: number): boolean {
  return KNOWN.has(opcode) || OTHER_KNOWN.has(opcode);
}

const REWRITING: ReadonlySet<number> = new Set([
  4, 8, 10, 18, 19, 22, 38, 46, 58, 62, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 84, 85, 87, 88, 89, 94, 116,
  169,
]);

/** Whether a failed login is told as 3015 instead of 3050, which older hosts do not know. */
export function isBeforeLoginErrors(opcode: number): boolean {
  return REWRITING.has(opcode);
}
