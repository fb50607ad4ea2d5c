/** guest-suspend-*: the machine sleeps (spec qemu-ga.md section 5). */
import type { SuspendMode } from '../../../guest/actions.ts';
import { QapiError } from '../errors.ts';
import { type CommandResult, command, SILENT } from '../registry.ts';
import { performed } from './actions.ts';
import type { QgaContext } from './context.ts';

export const suspendCommands = [
  suspendCommand('guest-suspend-disk', 'disk', 'Saves the memory to disk and powers off'),
  suspendCommand('guest-suspend-ram', 'ram', 'Suspends to memory'),
  suspendCommand('guest-suspend-hybrid', 'hybrid', 'Saves the memory to disk and suspends to memory'),
];

function suspendCommand(name: string, mode: SuspendMode, doc: string) {
  return command({
    name,
    since: '1.1',
    doc: `${doc}; answers only if that fails.`,
    args: {},
    returns: 'nothing',
    repliesOnSuccess: false,
    run: async (_args, { guest, native }: QgaContext): Promise<CommandResult> => {
      const result = await performed(() => guest.actions.suspend(mode));
      switch (result.kind) {
        case 'done':
          return SILENT;
        case 'unsupported':
          throw new QapiError('the requested suspend mode is not supported by the guest');
        case 'failed':
          throw new QapiError(`child process has failed to suspend: ${native.errorText(result.errno)}`);
      }
    },
  });
}
