/** File systems: what is mounted, and trimming it (spec qemu-ga.md section 5). */
import type { FileSystem } from '../../../guest/filesystems.ts';
import type { TrimOutcome } from '../../../guest/trim.ts';
import type { NativeAddon } from '../../../native/index.ts';
import type { ReplyValue } from '../json/writer.ts';
import { command } from '../registry.ts';
import { int, optional } from '../schema.ts';
import { performed } from './actions.ts';
import type { QgaContext } from './context.ts';
import { diskAddressReply } from './disks.ts';
import { readFact } from './system-calls.ts';

export const filesystemCommands = [
  command({
    name: 'guest-get-fsinfo',
    since: '2.2',
    doc: 'The mounted file systems of block devices, the last mounted first.',
    args: {},
    returns:
      '[{name, mountpoint, type, used-bytes?, total-bytes?, total-bytes-privileged?, disk: [address]}]; without sizes if the file system does not answer within 2 s',
    run: async (_args, { guest, native }: QgaContext) =>
      (await readFact(() => guest.fileSystems(), native)).map(fileSystemReply).reverse(),
  }),
  command({
    name: 'guest-fstrim',
    since: '1.2',
    doc: 'Tells the disks which blocks are free.',
    args: { minimum: optional(int, 'bytes: leave shorter extents alone; default 0') },
    returns: '{paths: [{path, trimmed?, minimum?, error?}]}, sizes in bytes',
    run: async ({ minimum = 0n }, { guest, native }: QgaContext) => {
      // the kernel's number has no sign: a negative one is larger than any extent
      const outcomes = await readFact(
        () => performed(() => guest.trimFileSystems(BigInt.asUintN(64, minimum))),
        native,
      );
      return { paths: outcomes.map((each) => trimReply(each, native)).reverse() };
    },
  }),
];

/** Pure, for tests. */
export function fileSystemReply({ name, mountPoint, type, usage, disks }: FileSystem): ReplyValue {
  return {
    name,
    mountpoint: mountPoint,
    type,
    'used-bytes': usage?.usedBytes,
    'total-bytes': usage?.totalBytes,
    'total-bytes-privileged': usage?.totalBytesPrivileged,
    disk: disks.map(diskAddressReply),
  };
}

/** Pure, for tests. */
export function trimReply(outcome: TrimOutcome, native: Pick<NativeAddon, 'errorText'>): ReplyValue {
  const path = outcome.mountPoint;
  switch (outcome.kind) {
    case 'trimmed':
      return {
        path,
        trimmed: BigInt.asIntN(64, outcome.trimmedBytes),
        minimum: BigInt.asIntN(64, outcome.minimumBytes),
      };
    case 'not-supported':
      return { path, error: 'trim not supported' };
    case 'failed':
      return { path, error: `failed to ${outcome.step}: ${native.errorText(outcome.errno)}` };
    default:
      return outcome satisfies never;
  }
}
