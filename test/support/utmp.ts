/** utmp(5) records of x86-64, for fixtures. */

export interface UtmpRecord {
  /** 7 is USER_PROCESS. */
  type: number;
  user: string;
  seconds: number;
  microseconds: number;
}

export function utmpFile(records: readonly UtmpRecord[]): Buffer {
  return Buffer.concat(
    records.map(({ type, user, seconds, microseconds }, index) => {
      const record = Buffer.alloc(384);
      record.writeInt16LE(type, 0);
      record.writeInt32LE(1000 + index, 4); // pid
      record.write(`pts/${index}`, 8);
      record.write(`ts/${index}`, 40, 4);
      Buffer.from(user).copy(record, 44, 0, 32);
      record.write('198.51.100.7', 76); // host, right behind the name
      record.writeUInt32LE(seconds, 340);
      record.writeInt32LE(microseconds, 344);
      return record;
    }),
  );
}
