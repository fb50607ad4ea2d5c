/** Whatever a host sends, and whatever becomes of the channel: there is an answer (spec vmware.md section 4). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import { ChannelLost, RpcRefused } from '../../../src/protocols/vmtools/channel-errors.ts';
import type { VmtoolsPart } from '../../../src/protocols/vmtools/part.ts';
import type { Rpci } from '../../../src/protocols/vmtools/rpc.ts';
import { createSession } from '../../../src/protocols/vmtools/session.ts';
import { createTell } from '../../../src/protocols/vmtools/tell.ts';
import { parseToolsConf } from '../../../src/protocols/vmtools/tools-conf.ts';
import { toolsVersion } from '../../../src/protocols/vmtools/tools-version.ts';
import { recordingLog } from '../../support/quiet-log.ts';

function build(parts: readonly VmtoolsPart[] = [], answer: () => Error | null = () => null) {
  const log = recordingLog();
  const asked: string[] = [];
  const rpci: Rpci = {
    async request(request) {
      asked.push(request.toString());
      const error = answer();
      if (error !== null) throw error;
      return Buffer.alloc(0);
    },
    reopen: async () => undefined,
    close: async () => undefined,
  };
  const session = createSession({
    rpci,
    tell: createTell(rpci, log),
    log,
    gate: createFreezeGate(),
    version: toolsVersion('0.1.0'),
    configurationDirectory: '/etc/vmware-tools',
    toolsConf: { read: async () => parseToolsConf(Buffer.alloc(0), log) },
    uptimeHundredths: () => {
      throw new Error('no uptime');
    },
    parts,
  });
  const ask = (command: string) => session.handler(Buffer.from(command));
  return { session, ask, asked, log };
}

describe('the session', () => {
  it('has an answer to everything', async () => {
    const names = fc.constantFrom(
      '',
      ' ',
      'ping',
      'reset',
      'Capabilities_Register',
      'Set_Option',
      '\0',
      '__proto__',
      'constructor',
    );
    const errors = [null, new RpcRefused(Buffer.from('no')), new ChannelLost('receive', 'gone')];
    await fc.assert(
      fc.asyncProperty(
        names,
        fc.uint8Array({ maxLength: 80 }),
        fc.constantFrom(...errors),
        async (name, bytes, error) => {
          const { session } = build([{}], () => error);
          const reply = await session.handler(Buffer.concat([Buffer.from(name), bytes]));
          expect(Buffer.isBuffer(reply) || typeof reply.ok === 'boolean').toBe(true);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('tells every part of a reset and a registration, in this order', async () => {
    const seen: string[] = [];
    const part = (name: string): VmtoolsPart => ({
      commands: { [name]: async () => ({ ok: true, result: name }) },
      onReset: () => void seen.push(`reset ${name}`),
      onRegistered: () => void seen.push(`registered ${name}`),
    });
    const { ask, asked } = build([part('one'), part('two')]);
    expect(await ask('two')).toEqual({ ok: true, result: 'two' });
    await ask('reset');
    await ask('Capabilities_Register');
    expect(seen).toEqual(['reset one', 'reset two', 'registered one', 'registered two']);
    // without an uptime the rest is told all the same
    expect(asked.slice(-5)[0]).toBe('tools.capability.statechange ');
  });

  it('does one command at a time, also over a second channel, and after one that failed', async () => {
    const seen: string[] = [];
    const slow = Promise.withResolvers<void>();
    const { ask } = build([
      {
        commands: {
          async slow() {
            await slow.promise;
            seen.push('slow');
            throw new Error('a bug');
          },
        },
        onReset: () => void seen.push('reset'),
      },
    ]);
    const first = ask('slow');
    const second = ask('reset');
    slow.resolve();
    await expect(first).rejects.toThrow('a bug');
    expect(await second).toMatchObject({ ok: true, result: 'ATR toolbox' });
    expect(seen).toEqual(['slow', 'reset']);
  });

  it('announces itself once, again only to a host that has not heard it', async () => {
    let error: Error | null = new ChannelLost('open', 'not yet');
    const { session, ask, asked } = build([], () => error);
    await session.announce();
    expect(asked).toHaveLength(1);
    error = null;
    await ask('reset');
    const announced = () => asked.filter((text) => text.includes('guestinfo.vmtools.')).length;
    expect(announced()).toBe(5);
    await ask('reset');
    expect(announced()).toBe(5);
  });
});

describe('the version', () => {
  it.each([
    ['0.1.0', 1000],
    ['12.34.56-rc1', 12_034_056],
    ['unknown', 0],
  ])('of agent %s has the build number %i', (version, buildNumber) => {
    expect(toolsVersion(version)).toEqual({
      description: `chr-agent ${version}`,
      versionString: '12.2.0',
      versionNumber: 12352,
      buildNumber,
    });
  });
});
