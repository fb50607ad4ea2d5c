/** All commands of the QEMU guest agent. */
import type { Command } from '../registry.ts';
import type { QgaContext } from './context.ts';
import { execCommands } from './exec.ts';
import { fileCommands } from './file.ts';
import { networkCommands } from './network.ts';
import { protocolCommands } from './protocol.ts';
import { systemCommands } from './system.ts';

export const commands: readonly Command<QgaContext>[] = [
  ...protocolCommands,
  ...systemCommands,
  ...execCommands,
  ...fileCommands,
  ...networkCommands,
];

export function commandNames(): string[] {
  return commands.map(({ name }) => name);
}
