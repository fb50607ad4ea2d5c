/** utmp records: utmp(5), the layout of glibc on x86-64 (384 bytes, 32-bit times also in 64-bit programs). Pure. */

export interface LoginRecord {
  user: string;
  /** Seconds since 1970 UTC, with microseconds as the fraction. */
  loginTimeSeconds: number;
}

export const UTMP_RECORD_BYTES = 384;
const TYPE_OFFSET = 0;
const USER_OFFSET = 44;
const USER_BYTES = 32;
const SECONDS_OFFSET = 340;
const MICROSECONDS_OFFSET = 344;
const USER_PROCESS = 7;

/** The records of logged-in users in their order. An incomplete last record is left out. */
export function parseLoginRecords(bytes: Buffer): LoginRecord[] {
  const records: LoginRecord[] = [];
  for (let at = 0; at + UTMP_RECORD_BYTES <= bytes.length; at += UTMP_RECORD_BYTES) {
    if (bytes.readInt16LE(at + TYPE_OFFSET) !== USER_PROCESS) continue;
    const name = bytes.subarray(at + USER_OFFSET, at + USER_OFFSET + USER_BYTES);
    const end = name.indexOf(0);
    // unsigned: goes on until 2106
    const seconds = bytes.readUInt32LE(at + SECONDS_OFFSET);
    const microseconds = bytes.readInt32LE(at + MICROSECONDS_OFFSET);
    records.push({
      user: name.toString('utf8', 0, end < 0 ? USER_BYTES : end),
      loginTimeSeconds: seconds + microseconds / 1_000_000,
    });
  }
  return records;
}
