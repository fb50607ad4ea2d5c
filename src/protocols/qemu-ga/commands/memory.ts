/** Memory blocks (spec qemu-ga.md section 5, guest-get-memory-blocks and following). */
import type { ReplyValue } from '../json/writer.ts';
import { command } from '../registry.ts';
import { type ArgumentType, bool, int, list, optional, required, struct } from '../schema.ts';
import { performed } from './actions.ts';
import type { QgaContext } from './context.ts';
import { readFact } from './system-calls.ts';

/** An unsigned 64-bit integer; QEMU takes negative ones for the same bits. */
const uint64: ArgumentType<bigint> = {
  label: 'int',
  parse: (value, path) => {
    if (typeof value !== 'bigint') return int.parse(value, path);
    return BigInt.asUintN(64, value);
  },
};

const memoryBlock = struct({
  'phys-index': required(uint64, 'index of the block'),
  online: required(bool, 'the state to bring it to'),
  'can-offline': optional(bool, 'not used'),
});

const RESPONSES = {
  'not-found': 'not-found',
  'not-supported': 'operation-not-supported',
  failed: 'operation-failed',
} as const;

export const memoryCommands = [
  command({
    name: 'guest-get-memory-blocks',
    since: '2.3',
    doc: 'All memory blocks; none if the kernel has no memory hotplug.',
    args: {},
    returns: '[{phys-index, online, can-offline}]',
    run: async (_args, { guest, native }: QgaContext) => {
      const blocks = await readFact(() => guest.memoryBlocks(), native);
      return blocks.map(({ index, online, canOffline }) => ({
        'phys-index': index,
        online,
        'can-offline': canOffline,
      }));
    },
  }),
  command({
    name: 'guest-set-memory-blocks',
    since: '2.3',
    doc: 'Takes memory blocks online or offline, each on its own.',
    args: { 'mem-blks': required(list(memoryBlock), 'what to change') },
    returns:
      '[{phys-index, response: "success" | "not-found" | "operation-not-supported" | "operation-failed", error-code?}]',
    run: async ({ 'mem-blks': blocks }, { guest }: QgaContext) => {
      const replies: ReplyValue[] = [];
      for (const { 'phys-index': index, online } of blocks) {
        const outcome = await performed(() => guest.switchMemoryBlock(index, online));
        replies.push(
          outcome.kind === 'done'
            ? { 'phys-index': index, response: 'success' }
            : { 'phys-index': index, response: RESPONSES[outcome.kind], 'error-code': outcome.errno },
        );
      }
      return replies;
    },
  }),
  command({
    name: 'guest-get-memory-block-info',
    since: '2.3',
    doc: 'How large a memory block is, in bytes.',
    args: {},
    returns: '{size}',
    run: async (_args, { guest, native }: QgaContext) => ({
      size: await readFact(() => guest.memoryBlockSizeBytes(), native),
    }),
  }),
];
