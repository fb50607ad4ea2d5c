/** Set_Option (spec vmware.md section 5). */
import { describe, expect, it } from 'vitest';
import { setOptionCommand } from '../../../src/protocols/vmtools/options.ts';
import { accepted, refused } from '../../../src/protocols/vmtools/rpc.ts';
import { recordingLog } from '../../support/quiet-log.ts';

describe('Set_Option', () => {
  it.each([
    ['synctime 1', ['synctime', '1']],
    ['synctime  1', ['synctime', ' 1']],
    ['name a b', ['name', 'a b']],
    ['name', ['name', '']],
    ['name 1\0', ['name', '1']],
    ['  name 1', ['name', '1']],
  ])('%j goes to every part', async (argument, expected) => {
    const seen: string[][] = [];
    const part = (takes: boolean) => ({
      setOption(...option: [string, string]) {
        seen.push(option);
        return takes;
      },
    });
    const log = recordingLog();
    const command = setOptionCommand([part(false), {}, part(true)], log);
    expect(await command(Buffer.from(argument))).toEqual(accepted());
    expect(seen).toEqual([expected, expected]);
    expect(log.lines).toEqual([]);
  });

  it('that nobody knows is accepted and noted', async () => {
    const log = recordingLog();
    expect(await setOptionCommand([], log)(Buffer.from('new\n\x1b 1'))).toEqual(accepted());
    expect(log.lines).toEqual(['debug: option "new\\n\\u001b" of the host means nothing here']);
  });

  it.each(['', ' ', '\0', '\0name 1'])('%j is refused', async (argument) => {
    expect(await setOptionCommand([], recordingLog())(Buffer.from(argument))).toEqual(
      refused('Unknown or invalid option'),
    );
  });
});
