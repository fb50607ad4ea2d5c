/** Which command of the host is which: names, the two that every session has, and the errors (spec vmware.md section 4). */
import { accepted, refused, type TcloHandler, type TcloReply } from './rpc.ts';

/** @param argument what follows the name and one blank, byte by byte, without a NUL at its end in text commands */
export type TcloCommand = (argument: Buffer) => Promise<Buffer | TcloReply>;

/** The name of a system's main tools daemon. */
const APPLICATION = 'toolbox';
const BLANK = 0x20;

/**
 * Dispatches commands.
 * @param commands by name; `ping` and `reset` are there already
 * @param onReset the host has lost our state. Done before the reply travels, so it may send RPCs (spec section 4.2)
 */
export function commandTable(
  commands: Readonly<Record<string, TcloCommand>>,
  onReset: () => Promise<void>,
): TcloHandler {
  const table = new Map<string, TcloCommand>([
    ['ping', async () => accepted()],
    [
      'reset',
      async () => {
        await onReset();
        return accepted(`ATR ${APPLICATION}`);
      },
    ],
    ...Object.entries(commands),
  ]);
  return async (message) => {
    const { name, argument } = splitCommand(message);
    if (name === '') return refused('Bad command');
    const command = table.get(name);
    return command === undefined ? refused('Unknown Command') : command(argument);
  };
}

/** The name is what comes before the first blank, after those at the start; a NUL ends it too. */
export function splitCommand(message: Buffer): { name: string; argument: Buffer } {
  let start = 0;
  while (message[start] === BLANK) start += 1;
  let end = start;
  while (end < message.length && message[end] !== BLANK && message[end] !== 0) end += 1;
  return { name: message.toString('latin1', start, end), argument: message.subarray(end + 1) };
}
