/** guest-fsfreeze-*: quiescing for a consistent snapshot (spec qemu-ga.md sections 4 and 5). */
import { QuiesceError } from '../../../quiesce/errors.ts';
import { QapiError } from '../errors.ts';
import { command } from '../registry.ts';
import { list, optional, str } from '../schema.ts';
import { requireSuccess } from './actions.ts';
import type { QgaContext } from './context.ts';

/** The owner of what is frozen here. */
export const FREEZE_OWNER = 'qemu-ga';

export const fsfreezeCommands = [
  command({
    name: 'guest-fsfreeze-status',
    since: '0.15',
    doc: 'Whether file systems are frozen.',
    args: {},
    returns: '"thawed" | "frozen"',
    run: (_args, { isFrozen }: QgaContext) => (isFrozen() ? 'frozen' : 'thawed'),
  }),
  command({
    name: 'guest-fsfreeze-freeze',
    since: '0.15',
    doc: 'Runs the freeze hook and freezes all writable file systems on block devices but FAT.',
    args: {},
    returns: 'int: how many file systems were frozen',
    run: (_args, context: QgaContext) => freeze(context),
  }),
  command({
    name: 'guest-fsfreeze-freeze-list',
    since: '2.2',
    doc: 'The same, of some file systems only.',
    args: { mountpoints: optional(list(str), 'their mount points; unknown ones are ignored; default all') },
    returns: 'int: how many file systems were frozen',
    run: ({ mountpoints }, context: QgaContext) => freeze(context, mountpoints),
  }),
  command({
    name: 'guest-fsfreeze-thaw',
    since: '0.15',
    doc: 'Thaws all file systems and runs the thaw hook. An error if they had been thawed meanwhile by the guard.',
    args: {},
    returns: 'int: how many file systems were frozen',
    run: (_args, context: QgaContext) => told(context, context.quiescer.thaw(FREEZE_OWNER)),
  }),
];

function freeze(context: QgaContext, mountPoints?: readonly string[]): Promise<bigint> {
  return told(context, context.quiescer.freeze(FREEZE_OWNER, mountPoints));
}

/** @throws {QapiError} in qemu-ga's words */
async function told({ native }: QgaContext, count: Promise<number>): Promise<bigint> {
  try {
    return BigInt(await count);
  } catch (error) {
    if (!(error instanceof QuiesceError)) throw error;
    if (error.hook?.kind === 'program') requireSuccess(error.hook.result, 'execute fsfreeze hook', native);
    throw new QapiError(error.message);
  }
}
