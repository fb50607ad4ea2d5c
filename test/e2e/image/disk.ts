/** Looks into the raw disk without booting or mounting it. */
import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';

const execute = promisify(execFile);
const OUTPUT_LIMIT = 64 << 20;
const SECTOR_BYTES = 512;
const PARTITION_TABLE_AT = 446;

export interface Partition {
  readonly active: boolean;
  readonly type: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

/** The four primary partitions' places (an MBR's table). */
export async function readPartitions(disk: string): Promise<Partition[]> {
  await using file = await open(disk);
  const { buffer } = await file.read(Buffer.alloc(SECTOR_BYTES), 0, SECTOR_BYTES, 0);
  return [0, 1, 2, 3].map((index) => {
    const at = PARTITION_TABLE_AT + index * 16;
    return {
      active: buffer.readUInt8(at) === 0x80,
      type: buffer.readUInt8(at + 4),
      offset: buffer.readUInt32LE(at + 8) * SECTOR_BYTES,
      sizeBytes: buffer.readUInt32LE(at + 12) * SECTOR_BYTES,
    };
  });
}

/** Paths in the root file system, from its root on: `/etc/passwd`. */
export async function listRoot(disk: string, { offset }: Partition): Promise<string[]> {
  const { stdout } = await execute('unsquashfs', ['-o', String(offset), '-l', '-d', '', disk], {
    maxBuffer: OUTPUT_LIMIT,
  });
  return stdout.split('\n').filter((line) => line.startsWith('/'));
}

/** A file of the root file system, as text. */
export async function readRoot(disk: string, { offset }: Partition, path: string): Promise<string> {
  const { stdout } = await execute('unsquashfs', ['-o', String(offset), '-cat', disk, path], {
    maxBuffer: OUTPUT_LIMIT,
  });
  return stdout;
}

/** What debugfs(8) says to a request, on the data partition. */
export async function askData(disk: string, { offset }: Partition, request: string): Promise<string> {
  const { stdout } = await execute('/sbin/debugfs', ['-R', request, `${disk}?offset=${offset}`]);
  return stdout;
}

/** Names in the initramfs, from the boot partition. */
export async function listInitramfs(disk: string, { offset }: Partition): Promise<string[]> {
  const packed = await execute('mtype', ['-i', `${disk}@@${offset}`, '::initrd'], {
    encoding: 'buffer',
    maxBuffer: OUTPUT_LIMIT,
  });
  const cpio = execute('cpio', ['-t', '--quiet'], { maxBuffer: OUTPUT_LIMIT });
  cpio.child.stdin?.end(gunzipSync(packed.stdout));
  return (await cpio).stdout.trim().split('\n');
}
