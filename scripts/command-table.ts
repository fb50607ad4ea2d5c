/** Writes docs/qemu-ga-commands.md from the command declarations: `node scripts/command-table.ts > docs/qemu-ga-commands.md`. */
import { commandTable } from '../src/protocols/qemu-ga/command-table.ts';
import { commands } from '../src/protocols/qemu-ga/commands/index.ts';

process.stdout.write(commandTable(commands));
