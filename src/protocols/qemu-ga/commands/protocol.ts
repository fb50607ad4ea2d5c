/** Commands about the protocol itself: sync, ping, info (spec qemu-ga.md section 5). */
import { command } from '../registry.ts';
import { int, required } from '../schema.ts';
import type { QgaContext } from './context.ts';

const syncArgs = { id: required(int, 'a number to send back') };

export const protocolCommands = [
  command({
    name: 'guest-sync-delimited',
    since: '1.1',
    frequent: true,
    doc: 'Sends a number back, after one byte 0xFF that no other reply contains.',
    args: syncArgs,
    returns: 'int',
    delimited: true,
    run: ({ id }) => id,
  }),
  command({
    name: 'guest-sync',
    since: '0.15',
    frequent: true,
    doc: 'Sends a number back.',
    args: syncArgs,
    returns: 'int',
    run: ({ id }) => id,
  }),
  command({
    name: 'guest-ping',
    since: '0.15',
    frequent: true,
    doc: 'Answers.',
    args: {},
    returns: 'nothing',
    run: () => undefined,
  }),
  command({
    name: 'guest-info',
    since: '0.15',
    doc: "The agent's version and its commands.",
    args: {},
    returns: '{version, supported_commands: [{name, enabled, success-response}]}',
    run: (_args, context: QgaContext) => ({
      version: context.version,
      supported_commands: context.listCommands().map(({ name, enabled, repliesOnSuccess }) => ({
        name,
        enabled,
        'success-response': repliesOnSuccess,
      })),
    }),
  }),
];
