/** The guest's disks, both forms, as the host reads them; vmware.md section 6.6. */

export interface GuestDisk {
  readonly name: string;
  readonly freeBytes: bigint;
  readonly sizeBytes: bigint;
  readonly fstype?: string;
  readonly devices?: readonly string[];
}

const ENTRY_BYTES = 116;
const NAME_AT = 16;
const TRAILER_BYTES = 2;

interface JsonDisk {
  name: string;
  free: string;
  size: string;
  fstype?: string;
  devices?: string[];
}

/** The shape is fixed to the line: hosts parse it with less than a JSON parser. */
const SHAPE = /^\{\n"version":"1",\n"disks":\[\n(?:\{.*\},\n)*(?:\{.*\}\n)?\]\}$/;

export function decodeDiskJson(text: string): GuestDisk[] {
  if (!SHAPE.test(text)) throw new Error(`disk report: unusual shape: ${JSON.stringify(text)}`);
  const { disks }: { disks: JsonDisk[] } = JSON.parse(text);
  return disks.map(({ name, free, size, fstype, devices }) => ({
    name: Buffer.from(name, 'base64').toString('utf8'),
    freeBytes: BigInt(free),
    sizeBytes: BigInt(size),
    ...(fstype === undefined ? {} : { fstype }),
    ...(devices === undefined ? {} : { devices }),
  }));
}

/** Type 3. */
export function decodeDiskList(bytes: Buffer): GuestDisk[] {
  const count = bytes.readUInt8();
  const wanted = 1 + count * ENTRY_BYTES + TRAILER_BYTES;
  if (bytes.length !== wanted) throw new Error(`disk list: ${bytes.length} bytes instead of ${wanted}`);
  return Array.from({ length: count }, (_, i) => {
    const entry = bytes.subarray(1 + i * ENTRY_BYTES, 1 + (i + 1) * ENTRY_BYTES);
    return {
      name: entry.toString('utf8', NAME_AT).replace(/\0.*$/s, ''),
      freeBytes: entry.readBigUInt64LE(0),
      sizeBytes: entry.readBigUInt64LE(8),
    };
  });
}
