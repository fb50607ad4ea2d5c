/** VIX error numbers, and how a command fails (spec vmware.md section 7.4). */

export const VIX = {
  OK: 0,
  FAIL: 1,
  OUT_OF_MEMORY: 2,
  INVALID_ARG: 3,
  FILE_NOT_FOUND: 4,
  OBJECT_IS_BUSY: 5,
  NOT_SUPPORTED: 6,
  FILE_ERROR: 7,
  DISK_FULL: 8,
  FILE_ALREADY_EXISTS: 12,
  FILE_ACCESS_ERROR: 13,
  PROGRAM_NOT_STARTED: 3004,
  GUEST_USER_PERMISSIONS: 3015,
  UNRECOGNIZED_COMMAND: 3025,
  INVALID_LOGIN_CREDENTIALS: 3050,
  INVALID_MESSAGE_HEADER: 10000,
  INVALID_MESSAGE_BODY: 10001,
  NOT_A_FILE: 20001,
  NOT_A_DIRECTORY: 20002,
  NO_SUCH_PROCESS: 20003,
  FILE_NAME_TOO_LONG: 20004,
  OPERATION_DISABLED: 20005,
  DIRECTORY_NOT_EMPTY: 20006,
} as const;

export class VixFailure extends Error {
  override name = 'VixFailure';
  readonly code: number;
  /** errno, or 0. */
  readonly osError: number;
  constructor(code: number, osError = 0) {
    super(`VIX error ${code}`);
    this.code = code;
    this.osError = osError;
  }
}

const EPERM = 1;
const ENOENT = 2;
const E2BIG = 7;
const ENOMEM = 12;
const EACCES = 13;
const EEXIST = 17;
const ENOTDIR = 20;
const EISDIR = 21;
const EINVAL = 22;
const ENOSPC = 28;
const ENAMETOOLONG = 36;
const ENOTEMPTY = 39;

const CODES = new Map<number, number>([
  [EPERM, VIX.FILE_ACCESS_ERROR],
  [ENOENT, VIX.FILE_NOT_FOUND],
  [E2BIG, VIX.INVALID_ARG],
  [ENOMEM, VIX.OUT_OF_MEMORY],
  [EACCES, VIX.FILE_ACCESS_ERROR],
  [EEXIST, VIX.FILE_ALREADY_EXISTS],
  [ENOTDIR, VIX.NOT_A_DIRECTORY],
  [EISDIR, VIX.NOT_A_FILE],
  [EINVAL, VIX.INVALID_ARG],
  [ENOSPC, VIX.DISK_FULL],
  [ENAMETOOLONG, VIX.FILE_NAME_TOO_LONG],
  [ENOTEMPTY, VIX.DIRECTORY_NOT_EMPTY],
]);

/** @param otherwise for an errno without a number of its own */
export function failureOfErrno(errno: number, otherwise: number = VIX.FAIL): VixFailure {
  return new VixFailure(CODES.get(errno) ?? otherwise, errno);
}
