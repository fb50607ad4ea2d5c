/** Set_Option: the host's settings, looked at by every part (spec vmware.md section 5). */
import type { Log } from '../../log.ts';
import type { VmtoolsPart } from './part.ts';
import { accepted, refused } from './rpc.ts';
import type { TcloCommand } from './tclo-commands.ts';

const NUL = 0;

/** Options that nobody knows, and values that make no sense, are accepted all the same, as by the reference. */
export function setOptionCommand(parts: readonly VmtoolsPart[], log: Log): TcloCommand {
  return async (argument) => {
    const end = argument.indexOf(NUL);
    const text = argument.toString('utf8', 0, end < 0 ? argument.length : end).trimStart();
    const blank = text.indexOf(' ');
    if (text === '') return refused('Unknown or invalid option');
    const name = blank < 0 ? text : text.slice(0, blank);
    const value = blank < 0 ? '' : text.slice(blank + 1);
    // every part sees every option
    const takers = parts.filter((part) => part.setOption?.(name, value) === true);
    if (takers.length === 0) log.debug(`option ${JSON.stringify(name)} of the host means nothing here`);
    return accepted();
  };
}
