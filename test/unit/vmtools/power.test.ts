/** Power operations without a host or scripts: what must hold whatever they do (spec vmware.md section 9). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PowerMode } from '../../../src/guest/actions.ts';
import { createPower, type ScriptEnd, type ScriptStart } from '../../../src/protocols/vmtools/power.ts';
import type { TcloReply } from '../../../src/protocols/vmtools/rpc.ts';
import { recordingLog } from '../../support/quiet-log.ts';

const STATES = { OS_Halt: 1, OS_Reboot: 2, OS_PowerOn: 3, OS_Resume: 4, OS_Suspend: 5 } as const;
type Command = keyof typeof STATES;

function build({ told = 'told' as 'told' | 'lost', find = async () => {} } = {}) {
  const said: string[] = [];
  const powered: PowerMode[] = [];
  const log = recordingLog();
  let next: ScriptStart | null = null;
  const power = createPower({
    scripts: {
      find: async () => {
        await find();
        const start = next;
        return start === null ? null : { start: async () => start };
      },
    },
    tell: async (request) => {
      said.push(String(request));
      return told;
    },
    actions: {
      power: async (mode) => {
        powered.push(mode);
        return { kind: 'exited', program: 'poweroff', code: 1, output: Buffer.from('no\n way') };
      },
    },
    gate: { frozen: false },
    log,
    replyLimitMs: 20,
  });
  return {
    power,
    said,
    powered,
    log,
    async ask(command: Command, script: ScriptStart | null): Promise<TcloReply> {
      next = script;
      const reply = await power.commands?.[command]?.(Buffer.alloc(0));
      if (reply === undefined || Buffer.isBuffer(reply)) throw new Error('no proper reply');
      return reply;
    },
  };
}

const ended = (isSuccess: boolean): ScriptStart => ({
  ended: Promise.resolve<ScriptEnd>({ isSuccess, how: 'exit code: ?' }),
});

describe('the rule of the second try', () => {
  it('is the reference model for every sequence of operations', async () => {
    const step = fc.record({
      command: fc.constantFrom(...(Object.keys(STATES) as Command[])),
      script: fc.constantFrom('none', 'good', 'bad', 'unstartable'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const { power, said, ask } = build();
        let failed: Command | null = null;
        const expected: string[] = [];
        for (const { command, script } of steps) {
          const isGood = script === 'none' || script === 'good';
          const goesOn: boolean = isGood || failed === command;
          failed = goesOn ? null : command;
          expected.push(`tools.os.statechange.status ${goesOn ? 1 : 0} ${STATES[command]}`);
          const start =
            script === 'none' ? null : script === 'unstartable' ? { problem: 'none' } : ended(isGood);
          const reply = await ask(command, start);
          expect(reply.ok).toBe(script !== 'unstartable' || goesOn);
          await power.stop?.();
        }
        expect(said.filter((text) => text.startsWith('tools.os'))).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });
});

describe('what may go wrong', () => {
  it('the host hears in time that a script is on its way, also when it cannot start yet', async () => {
    const gate = Promise.withResolvers<void>();
    const { power, said, ask } = build({ find: () => gate.promise });
    expect(await ask('OS_Suspend', ended(true))).toEqual({ ok: true, result: '' });
    expect(said).toEqual([]);
    expect(await ask('OS_Resume', null)).toMatchObject({
      ok: false,
      result: 'State change already in progress',
    });
    gate.resolve();
    await power.stop?.();
    expect(said.at(-1)).toBe('tools.os.statechange.status 1 5');
  });

  it('a host that is away does not keep the guest from what it has asked for', async () => {
    const { power, powered, ask } = build({ told: 'lost' });
    await ask('OS_Halt', ended(true));
    await power.stop?.();
    expect(powered).toEqual(['powerdown']);
  });

  it('a bug is told, and the next operation served', async () => {
    let isBroken = true;
    const { log, ask } = build({
      find: async () => {
        if (isBroken) throw new Error('a bug');
      },
    });
    expect(await ask('OS_Suspend', null)).toEqual({ ok: false, result: 'Internal error' });
    expect(log.lines.join()).toContain('a bug');
    isBroken = false;
    expect(await ask('OS_Suspend', null)).toEqual({ ok: true, result: '' });
  });

  it('a shutdown program that fails is told in one line', async () => {
    const { power, said, log, ask } = build();
    await ask('OS_Reboot', null);
    await power.stop?.();
    expect(said.slice(-2)).toEqual([
      'log Initiating reboot.',
      'log The reboot failed: poweroff: exit status 1 no way',
    ]);
    expect(log.lines.at(-1)).toBe('error: the reboot failed: poweroff: exit status 1 no way');
  });
});
