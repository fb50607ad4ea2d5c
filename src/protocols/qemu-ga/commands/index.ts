/** All commands of the QEMU guest agent. */
import type { Command } from '../registry.ts';
import { accountCommands } from './accounts.ts';
import type { QgaContext } from './context.ts';
import { diskCommands } from './disks.ts';
import { execCommands } from './exec.ts';
import { fileCommands } from './file.ts';
import { filesystemCommands } from './filesystem.ts';
import { fsfreezeCommands } from './fsfreeze.ts';
import { memoryCommands } from './memory.ts';
import { networkCommands } from './network.ts';
import { processorCommands } from './processors.ts';
import { protocolCommands } from './protocol.ts';
import { routeCommands } from './routes.ts';
import { suspendCommands } from './suspend.ts';
import { systemCommands } from './system.ts';

export const commands: readonly Command<QgaContext>[] = [
  ...protocolCommands,
  ...systemCommands,
  ...execCommands,
  ...fileCommands,
  ...networkCommands,
  ...fsfreezeCommands,
  ...filesystemCommands,
  ...diskCommands,
  ...routeCommands,
  ...processorCommands,
  ...memoryCommands,
  ...accountCommands,
  ...suspendCommands,
];

export function commandNames(): string[] {
  return commands.map(({ name }) => name);
}
