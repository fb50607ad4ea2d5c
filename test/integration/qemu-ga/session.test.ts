/** One session over a real socket (spec qemu-ga.md sections 1 and 2). */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LineClient } from '../../support/line-client.ts';
import { type OurAgent, startOurAgent } from '../../support/qga-service.ts';

let agent: OurAgent;
beforeAll(async () => {
  agent = await startOurAgent();
});
afterAll(() => agent.stop());

const PING = '{"execute":"guest-ping"}';
const sync = (id: number) => `{"execute":"guest-sync","arguments":{"id":${id}}}`;

async function withClient(use: (client: LineClient) => Promise<void>): Promise<void> {
  const client = new LineClient(agent.socketPath);
  try {
    await use(client);
  } finally {
    await client.close();
  }
}

describe('replies', () => {
  it('come one line each, in order, also for several requests on one line', () =>
    withClient(async (client) => {
      client.send(`${sync(1)}${sync(2)} ${PING}\r\n${sync(3)}`);
      const text = (await client.readThrough('3')).toString();
      expect(text).toBe('{"return": 1}\n{"return": 2}\n{"return": {}}\n{"return": 3}\n');
    }));

  it('echo the id, whatever it is, also of a long one', () =>
    withClient(async (client) => {
      const long = 'QUJD'.repeat(100_000);
      client.send(`{"execute":"guest-ping","id":{"a":[1,"${long}"]}}{"execute":"nope","id":null}`);
      expect(await client.reply()).toEqual({ return: {}, id: { a: [1, long] } });
      expect(await client.reply()).toMatchObject({ error: { class: 'CommandNotFound' }, id: null });
    }));

  it('to 64 KiB of 0xFF are 65536 error lines', () =>
    withClient(async (client) => {
      client.send(Buffer.concat([Buffer.alloc(65_536, 0xff), Buffer.from(sync(7))]));
      const lines = (await client.readThrough('{"return": 7}')).toString().trimEnd().split('\n');
      expect(lines).toHaveLength(65_537);
      expect(new Set(lines)).toEqual(
        new Set([
          '{"error": {"class": "GenericError", "desc": "JSON parse error, stray \'\\uFFFD\'"}}',
          '{"return": 7}',
        ]),
      );
    }));

  it('to guest-sync-delimited begin with 0xFF, but not its errors', () =>
    withClient(async (client) => {
      client.send(
        '{"execute":"guest-sync-delimited","arguments":{"id":5}}{"execute":"guest-sync-delimited"}',
      );
      expect(await client.readThrough('\n')).toEqual(Buffer.from('\xff{"return": 5}\n', 'latin1'));
      expect((await client.readThrough('\n')).toString()).toMatch(/^\{"error"/);
    }));

  it('wait for a client that does not read, and lose nothing', () =>
    withClient(async (client) => {
      const count = 20_000;
      const requests = Array.from({ length: count }, (_, index) => sync(index)).join('');
      client.send(requests);
      const lines = (await client.readThrough(`{"return": ${count - 1}}`, 20_000))
        .toString()
        .trimEnd()
        .split('\n');
      expect(lines).toEqual(Array.from({ length: count }, (_, index) => `{"return": ${index}}`));
    }));
});

describe('connections', () => {
  it('outlive nothing: half a request is continued by the next client', async () => {
    await withClient(async (client) => {
      client.send(`${PING}{"execute":`);
      await client.reply();
    });
    await withClient(async (client) => {
      client.send('"guest-ping"}');
      expect(await client.reply()).toEqual({ return: {} });
    });
  });

  it('are served one at a time: a second client waits and is answered after the first has gone', async () => {
    const first = new LineClient(agent.socketPath);
    await first.result('guest-ping');
    const second = new LineClient(agent.socketPath);
    second.send(sync(2));
    await expect(second.reply(200)).rejects.toThrow('no ');
    first.send(sync(1));
    expect(await first.reply()).toEqual({ return: 1 });
    await first.close();
    expect(await second.reply()).toEqual({ return: 2 });
    await second.close();
  });

  it('that the client half-closed are closed after the last reply', () =>
    withClient(async (client) => {
      client.send(`{"execute":"guest-exec","arguments":{"input-data":"${btoa('true')}"}}${sync(9)}`);
      client.end();
      expect(await client.reply()).toMatchObject({ return: { pid: expect.any(Number) } });
      expect(await client.reply()).toEqual({ return: 9 });
      await client.closed();
    }));

  it('that break while a large reply is sent do not disturb the next', async () => {
    const client = new LineClient(agent.socketPath);
    const handle = await client.result('guest-file-open', { path: '/dev/zero' });
    client.send(`{"execute":"guest-file-read","arguments":{"handle":${handle},"count":50331648}}`);
    await client.readThroughBytes(100_000);
    await client.close();
    await withClient(async (next) => {
      expect(await next.result('guest-ping')).toEqual({});
      await next.result('guest-file-close', { handle });
    });
  });
});

describe('the commands', () => {
  it('are listed by guest-info with exactly three members each', () =>
    withClient(async (client) => {
      const info = await client.result('guest-info');
      expect(info).toMatchObject({ version: '10.2.2' });
      const commands = (info as { supported_commands: object[] }).supported_commands;
      expect(commands).toContainEqual({ name: 'guest-shutdown', enabled: true, 'success-response': false });
      for (const each of commands) expect(Object.keys(each)).toEqual(['name', 'enabled', 'success-response']);
    }));

  it('that could hurt this machine are refused with an error and one log line', () =>
    withClient(async (client) => {
      const refused = 'CHR_AGENT_NO_ACTIONS=1';
      await expect(client.result('guest-shutdown')).rejects.toThrow(refused);
      await expect(client.result('guest-set-time', { time: 1_000_000_000_000_000_000 })).rejects.toThrow(
        refused,
      );
      await expect(client.result('guest-set-time')).rejects.toThrow(refused);
      expect(agent.logLines.filter((line) => line.startsWith('warning: refused'))).toHaveLength(3);
      await expect(client.result('guest-shutdown', { mode: 'x' })).rejects.toThrow(
        'mode is invalid (valid values are: halt|powerdown|reboot',
      );
      await expect(client.result('guest-set-time', { time: -1_000_000_000 })).rejects.toThrow('Invalid time');
    }));

  it('are only six while file systems are frozen', () =>
    withClient(async (client) => {
      agent.gate.shut();
      try {
        const info = (await client.result('guest-info')) as {
          supported_commands: { name: string; enabled: boolean }[];
        };
        const enabled = info.supported_commands.filter((each) => each.enabled).map((each) => each.name);
        expect(enabled.sort()).toEqual([
          'guest-fsfreeze-status',
          'guest-fsfreeze-thaw',
          'guest-info',
          'guest-ping',
          'guest-sync',
          'guest-sync-delimited',
        ]);
        expect(await client.command('guest-file-open', { path: '/etc/hostname' })).toEqual({
          error: {
            class: 'CommandNotFound',
            desc: 'Command guest-file-open has been disabled: the command is not allowed',
          },
        });
      } finally {
        agent.gate.open();
      }
    }));
});

describe('the log', () => {
  it('has one line a command with outcome and time, none for frequent ones, and no arguments', async () => {
    const logged = await startOurAgent();
    const client = new LineClient(logged.socketPath);
    await client.result('guest-ping');
    await client.result('guest-get-host-name');
    await client.result('guest-exec', { 'input-data': btoa('echo secret') });
    await client.command('guest-exec', { path: 'missing' });
    await client.close();
    await logged.stop();
    expect(logged.logLines.filter((line) => line.startsWith('info: qemu-ga'))).toEqual([
      expect.stringMatching(/^info: qemu-ga: guest-get-host-name: ok, [\d.]+ ms$/),
      expect.stringMatching(/^info: qemu-ga: guest-exec: ok, [\d.]+ ms$/),
      expect.stringMatching(
        /^info: qemu-ga: guest-exec: error: Failed to execute .* directory\), [\d.]+ ms$/,
      ),
    ]);
  });

  it('tells the remedy when a reply is too long for libvirt', async () => {
    const logged = await startOurAgent();
    const client = new LineClient(logged.socketPath);
    const handle = await client.result('guest-file-open', { path: '/dev/zero' });
    client.send(`{"execute":"guest-file-read","arguments":{"handle":${handle},"count":9000000}}`);
    await client.readThrough('\n');
    await client.result('guest-ping');
    await client.close();
    await logged.stop();
    expect(logged.logLines).toContainEqual(expect.stringContaining('read files in pieces of at most 7 MiB'));
  });
});

describe('a device', () => {
  it('is given up when the agent stops, also while a reply waits for the host', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'qga-tty-'));
    const path = join(directory, 'tty');
    // nobody reads the far side: a large reply gets stuck
    const host = join(directory, 'host');
    const tty = spawn('socat', [`PTY,link=${path},raw,echo=0`, `UNIX-LISTEN:${host}`]);
    try {
      while (!existsSync(path) || !existsSync(host)) await delay(10);
      const onTty = await startOurAgent({ address: { method: 'isa-serial', path } });
      await delay(100);
      await onTty.stop();
      const busy = await startOurAgent({ address: { method: 'isa-serial', path } });
      const socket = connect(host).pause();
      socket.write(`{"execute":"guest-ping","id":"${'A'.repeat(3_000)}"}`.repeat(2_000));
      await delay(300);
      await busy.stop();
      socket.destroy();
    } finally {
      tty.kill();
      rmSync(directory, { recursive: true });
    }
  });
});

describe('the lists', () => {
  it('block and allow commands', async () => {
    const limited = await startOurAgent({
      allowedCommands: ['guest-ping', 'guest-info', 'guest-get-time'],
      blockedCommands: ['guest-get-time'],
    });
    const client = new LineClient(limited.socketPath);
    expect(await client.result('guest-ping')).toEqual({});
    for (const name of ['guest-get-time', 'guest-sync']) {
      expect(await client.command(name)).toMatchObject({ error: { class: 'CommandNotFound' } });
    }
    await client.close();
    await limited.stop();
  });
});
