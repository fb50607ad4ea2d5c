/** The served loop: rhythm, replies, errors, commands (spec vmware.md section 4). */
import { describe, expect, it } from 'vitest';
import type { MessageChannel } from '../../../src/protocols/vmtools/message-channel.ts';
import { accepted, refused, type TcloHandler } from '../../../src/protocols/vmtools/rpc.ts';
import {
  commandName,
  encodeReply,
  nextWaitMs,
  type PollClock,
  pollCommands,
} from '../../../src/protocols/vmtools/tclo.ts';
import { commandTable, splitCommand } from '../../../src/protocols/vmtools/tclo-commands.ts';
import { recordingLog } from '../../support/quiet-log.ts';

/**
 * Runs the loop on a channel that has these commands at its polls (null: none), in a time that only waits move.
 * @returns what it sent, and how long it waited
 */
async function poll(commands: (string | null)[], handler: TcloHandler = async () => accepted()) {
  const sent: string[] = [];
  const waits: number[] = [];
  const log = recordingLog();
  const stop = new AbortController();
  let nowMs = 0;
  let polls = 0;
  const channel: MessageChannel = {
    send: async (message) => void sent.push(message.toString('latin1')),
    async receive() {
      const command = commands[polls] ?? null;
      polls += 1;
      if (polls === commands.length) stop.abort();
      return command === null ? null : Buffer.from(command);
    },
    close: () => {},
  };
  const clock: PollClock = {
    nowMs: () => nowMs,
    async wait(timeMs) {
      waits.push(timeMs);
      nowMs += timeMs;
    },
  };
  await pollCommands({ channel, handler, log, signal: stop.signal, clock });
  return { sent, waits, log: log.lines };
}

const idle = (count: number): null[] => Array.from({ length: count }, () => null);

describe('4.1: the rhythm', () => {
  it('is that of the reference after the start and after each command', async () => {
    const { waits, sent } = await poll([...idle(8), 'Set_Option synctime 1', ...idle(7)]);
    const ramp = [10, 20, 40, 80, 100, 100, 100];
    expect(waits).toEqual([...ramp, 100, ...ramp]);
    expect(sent).toEqual([...Array(9).fill(''), 'OK ', ...Array(6).fill('')]);
  });

  it('slows down after a minute, and ping does not make it faster for long', async () => {
    const { waits } = await poll([...idle(700), 'ping', ...idle(10), 'reset', ...idle(8)]);
    const ramp = [10, 20, 40, 80];
    const steady = waits.slice(0, 604);
    expect(steady.reduce((sum, wait) => sum + wait, 0)).toBeGreaterThanOrEqual(60_000);
    expect(Math.max(...steady.slice(0, 600))).toBe(100);
    expect(waits.slice(610, 700)).toEqual(Array(90).fill(500));
    expect(waits.slice(700, 710)).toEqual([...ramp, 160, 320, 500, 500, 500, 500]);
    expect(waits.slice(710)).toEqual([...ramp, 100, 100, 100, 100]);
  });

  it.each([
    [null, 0, 10],
    [10, 0, 20],
    [80, 59_999, 100],
    [100, 60_000, 200],
    [400, 60_000, 500],
    [500, 0, 100],
  ])('after a wait of %s ms, %d ms quiet: %d ms', (last, quietMs, expected) => {
    expect(nextWaitMs(last, quietMs)).toBe(expected);
  });
});

describe('a flood of commands', () => {
  it('leaves everything else its turns', async () => {
    let turns = 0;
    let isOver = false;
    const count = () => {
      turns += 1;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    await poll([...Array(100).fill('ping'), null]);
    isOver = true;
    expect(turns).toBeGreaterThan(50);
  });
});

describe('4.1: replies', () => {
  it.each([
    [accepted(), 'OK '],
    [accepted('ATR toolbox'), 'OK ATR toolbox'],
    [accepted(Buffer.from('0 0 \0')), 'OK 0 0 \0'],
    [refused('Unknown Command'), 'ERROR Unknown Command'],
  ])('%j is %j', (reply, expected) => {
    expect(encodeReply(reply).toString()).toBe(expected);
  });

  it('a Buffer is the whole reply', async () => {
    const { sent } = await poll(['x', null], async () => Buffer.from('OK raw'));
    expect(sent).toEqual(['', 'OK raw']);
  });

  it('a failing handler is an ERROR and a line in the log, not the end', async () => {
    const { sent, log } = await poll(['bad\nname x', 'good', null], async (command) => {
      if (String(command).startsWith('bad')) throw new Error('broken');
      return accepted();
    });
    expect(sent).toEqual(['', 'ERROR Internal error', 'OK ']);
    expect(log).toHaveLength(1);
    expect(log[0]).toMatch(/^error: command 'bad\.name' failed: Error: broken\n/);
  });

  it('a reply that is too long is an ERROR', async () => {
    const { sent, log } = await poll(['x', 'y', null], async (command) =>
      accepted('r'.repeat(String(command) === 'x' ? 65533 : 65532)),
    );
    expect(sent[1]).toBe('ERROR Reply too long');
    expect(sent[2]).toHaveLength(65535);
    expect(log).toHaveLength(1);
  });
});

describe('4.2 and 4.3: the command table', () => {
  const resets: string[] = [];
  const handler = commandTable(
    {
      echo: async (argument) => accepted(argument),
      Bare: async () => refused('no'),
    },
    async () => void resets.push('reset'),
  );
  it.each([
    ['ping', 'OK '],
    ['ping\0', 'OK '],
    ['reset', 'OK ATR toolbox'],
    ['echo a  b', 'OK a  b'],
    ['echo ', 'OK '],
    ['echo', 'OK '],
    ['  echo x', 'OK x'],
    ['Bare', 'ERROR no'],
    ['echo2 x', 'ERROR Unknown Command'],
    ['PING', 'ERROR Unknown Command'],
    ['toString', 'ERROR Unknown Command'],
    ['__proto__', 'ERROR Unknown Command'],
    ['\xff\xfe', 'ERROR Unknown Command'],
    ['', 'ERROR Bad command'],
    ['   ', 'ERROR Bad command'],
    ['\0', 'ERROR Bad command'],
  ])('%j is answered %j', async (command, expected) => {
    const answer = await handler(Buffer.from(command, 'latin1'));
    expect(Buffer.isBuffer(answer) ? answer.toString() : encodeReply(answer).toString()).toBe(expected);
  });

  it('resets before it answers', () => expect(resets).toEqual(['reset']));

  it('gives binary arguments unchanged', () => {
    const { name, argument } = splitCommand(Buffer.from('Vix_1_Relayed_Command "7"\0\x01\0 \xff', 'latin1'));
    expect(name).toBe('Vix_1_Relayed_Command');
    expect(argument.toString('latin1')).toBe('"7"\0\x01\0 \xff');
  });

  it('names commands in one printable word', () => {
    expect(commandName(Buffer.from('a\x1b[31mb c'))).toBe('a.[31mb');
    expect(commandName(Buffer.alloc(1000, 'x'))).toHaveLength(80);
    expect(commandName(Buffer.of())).toBe('');
  });
});
