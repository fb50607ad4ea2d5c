/**
 * The memory blocks that can be switched on and off, from /sys/devices/system/memory (kernel:
 * Documentation/admin-guide/mm/memory-hotplug.rst). A kernel without memory hotplug has none.
 */
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Actions } from './actions.ts';
import { checkDirectory, listKernelDirectory, readKernelFile } from './linux/kernel-file.ts';
import { isSystemCallError, SystemCallError } from './linux/system-call-error.ts';

export interface MemoryBlock {
  /** The physical address divided by the size of a block. */
  index: number;
  online: boolean;
  canOffline: boolean;
}

/** `done` also when the block was in that state already. `errno` is positive. */
export type MemoryBlockSwitch =
  | { kind: 'done' }
  | { kind: 'not-found' | 'not-supported' | 'failed'; errno: number };

const MEMORY_DIRECTORY = 'sys/devices/system/memory';
/** Blocks that are looked at before other work gets its turn: a terabyte may have 8192. */
const BLOCKS_PER_TURN = 128;
const ENOENT = 2;
const EIO = 5;

/** In the kernel's order, which is not that of the indexes. @throws {SystemCallError} */
export async function memoryBlocks(root = '/'): Promise<MemoryBlock[]> {
  const directory = join(root, MEMORY_DIRECTORY);
  const names = ifThere(() => listKernelDirectory(directory), []).filter((name) => /^memory\d+$/.test(name));
  const blocks: MemoryBlock[] = [];
  for (const name of names) {
    const state = ifThere(() => readKernelFile(join(directory, name, 'state')), null);
    const removable = ifThere(() => readKernelFile(join(directory, name, 'removable')), '0');
    blocks.push({
      index: Number(name.slice('memory'.length)),
      online: state === null || isOnline(state),
      canOffline: state !== null && !removable.startsWith('0'),
    });
    if (blocks.length % BLOCKS_PER_TURN === 0) await setImmediate();
  }
  return blocks;
}

/** @throws {SystemCallError} */
export function memoryBlockSizeBytes(root = '/'): bigint {
  const directory = `${join(root, MEMORY_DIRECTORY)}/`;
  checkDirectory(directory);
  const path = join(directory, 'block_size_bytes');
  const digits = /^[\da-f]+/i.exec(readKernelFile(path));
  if (digits === null) throw new SystemCallError('read', path, EIO);
  return BigInt(`0x${digits[0]}`);
}

/**
 * Takes a memory block online or offline.
 *
 * @param index any number, also of a block that does not exist.
 * @throws {ActionRefused}
 */
export async function switchMemoryBlock(
  index: bigint,
  online: boolean,
  { actions, root = '/' }: { actions: Pick<Actions, 'setMemoryBlockOnline'>; root?: string },
): Promise<MemoryBlockSwitch> {
  const directory = join(root, MEMORY_DIRECTORY);
  const block = join(directory, `memory${index}`);
  let kindIfMissing: 'not-found' | 'not-supported' = 'not-supported';
  try {
    checkDirectory(directory);
    kindIfMissing = 'not-found';
    checkDirectory(block);
    const state = ifThere(() => readKernelFile(join(block, 'state')), null);
    // old kernels have blocks without a switch, which are online
    if (state === null && !online) return { kind: 'not-supported', errno: ENOENT };
    if (state === null || isOnline(state) === online) return { kind: 'done' };
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    return { kind: error.errno === ENOENT ? kindIfMissing : 'failed', errno: error.errno };
  }
  const result = await actions.setMemoryBlockOnline(Number(index), online);
  return result >= 0 ? { kind: 'done' } : { kind: 'failed', errno: -result };
}

/** Not "offline" and not "going-offline". */
function isOnline(state: string): boolean {
  return state.startsWith('online');
}

function ifThere<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch (error) {
    if (isSystemCallError(error, ENOENT)) return otherwise;
    throw error;
  }
}
