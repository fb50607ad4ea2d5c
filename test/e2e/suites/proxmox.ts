/**
 * Proxmox VE's calls, byte for byte, on QEMU's own socket (libvirt 9 cannot parse what it asks for): spec/qemu-ga.md
 * section 8.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { installHooks, mountDataDisk, removeHooks, shell } from '../agent-process.ts';
import { Channel } from '../channel.ts';
import { agentName } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { testBytes } from './files.ts';

const isChr = agentName === 'chr-agent';
const SYNC_BYTE = 0xff;
const FILE_SYSTEMS = 2;
/** Columns of its base64. */
const BASE64_LINE = 76;
const FREEZE_HOOK_S = 3;

const number = v.object({ return: v.number() });
const execStatus = v.object({
  return: v.object({
    exited: v.boolean(),
    exitcode: v.optional(v.number()),
    'out-data': v.optional(v.string()),
  }),
});

/** As Perl's encode_base64 does it: wrapped, with a newline at the end. */
function perlBase64(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll(new RegExp(`.{1,${BASE64_LINE}}`, 'g'), '$&\n');
}

class ProxmoxClient {
  readonly channel: Channel;
  #counter = 0;

  constructor(channel: Channel) {
    this.channel = channel;
  }

  /** One write with two lines. @returns the number of the first one */
  async send(execute: string, args: Record<string, unknown> = {}): Promise<number> {
    this.#counter += 1;
    const id = Number(`${process.pid}0${this.#counter}`);
    const sync = JSON.stringify({ execute: 'guest-sync-delimited', arguments: { id } });
    await this.channel.write(`${sync}\n${JSON.stringify({ execute, arguments: args })}\n`);
    return id;
  }

  /** The reply that follows the sync's; of what comes before, only numbers may be smaller. */
  async receive(id: number, timeoutMs: number): Promise<unknown> {
    for (;;) {
      const line = await this.channel.line(timeoutMs);
      const at = line.indexOf(SYNC_BYTE);
      const text = line.subarray(at + 1).toString('latin1');
      expect(text).toMatch(/\}$/);
      if (at >= 0 && new RegExp(`"return": ?${id}\\b`).test(text)) break;
    }
    return JSON.parse((await this.channel.line(timeoutMs)).toString('latin1'));
  }

  async call(execute: string, args?: Record<string, unknown>, timeoutMs = 20_000): Promise<unknown> {
    return this.receive(await this.send(execute, args), timeoutMs);
  }
}

export function proxmoxSuite(guest: () => Guest): void {
  describe('Proxmox VE on the raw channel', { timeout: 120_000 }, () => {
    let channel: Channel | undefined;
    const connect = async () => {
      await channel?.close();
      channel = await Channel.open(guest().agentSocket);
      return new ProxmoxClient(channel);
    };

    beforeAll(async () => {
      await mountDataDisk(guest());
      await guest().libvirt.stopDaemon();
    });

    afterAll(async () => {
      await channel?.close();
      await guest().libvirt.startDaemon();
    });

    it('guest-ping: 0xFF, the number back as plain digits, both lines ending in }', async () => {
      const client = await connect();
      const id = await client.send('guest-ping');
      const sync = await client.channel.line();
      expect(sync[0]).toBe(SYNC_BYTE);
      expect(sync.subarray(1).toString('latin1')).toBe(`{"return": ${id}}`);
      expect((await client.channel.line()).toString('latin1')).toBe('{"return": {}}');
    });

    it.each([
      ...[
        'guest-get-time',
        'guest-info',
        'guest-network-get-interfaces',
        'guest-get-vcpus',
        'guest-get-fsinfo',
      ],
      ...[
        'guest-get-memory-blocks',
        'guest-get-memory-block-info',
        'guest-get-host-name',
        'guest-get-osinfo',
      ],
      ...['guest-get-users', 'guest-get-timezone', 'guest-fsfreeze-status', 'guest-fstrim'],
    ])('%s', async (name) => {
      const client = await connect();
      expect(await client.call(name)).toHaveProperty('return');
    });

    it('agent/file-write, agent/file-read: wrapped base64', async () => {
      const client = await connect();
      const content = testBytes(60_000);
      const { return: handle } = v.parse(
        number,
        await client.call('guest-file-open', { path: '/root/from-proxmox', mode: 'wb' }),
      );
      const written = await client.call('guest-file-write', { handle, 'buf-b64': perlBase64(content) });
      expect(written).toEqual({ return: { count: content.length, eof: false } });
      expect(await client.call('guest-file-close', { handle })).toEqual({ return: {} });

      const { return: reader } = v.parse(
        number,
        await client.call('guest-file-open', { path: '/root/from-proxmox' }),
      );
      expect(await client.call('guest-file-seek', { handle: reader, offset: 0, whence: 'set' })).toEqual({
        return: { position: 0, eof: false },
      });
      const read = await client.call('guest-file-read', { handle: reader, count: 1 << 20 });
      expect(read).toEqual({
        return: { count: content.length, eof: true, 'buf-b64': content.toString('base64') },
      });
      expect(await client.call('guest-file-close', { handle: reader })).toEqual({ return: {} });
    });

    it.runIf(isChr)('qm guest exec with a script on stdin: no path', async () => {
      const client = await connect();
      const started = await client.call('guest-exec', {
        'capture-output': true,
        'input-data': perlBase64(Buffer.from('echo "from Proxmox"\nexit 0\n')),
      });
      const { pid } = v.parse(v.object({ return: v.object({ pid: v.number() }) }), started).return;
      for (let n = 0; n < 30; n += 1) {
        const { return: status } = v.parse(execStatus, await client.call('guest-exec-status', { pid }));
        if (status.exited) {
          expect(status.exitcode).toBe(0);
          expect(Buffer.from(status['out-data'] ?? '', 'base64').toString()).toBe('from Proxmox\n');
          return;
        }
        await sleep(1000);
      }
      expect.unreachable('the script has not ended');
    });

    it('set-user-password', async () => {
      await shell(guest(), 'useradd proxmox');
      const client = await connect();
      const reply = await client.call('guest-set-user-password', {
        ...{ username: 'proxmox', crypted: false },
        password: perlBase64(
          Buffer.from('a password that is longer than a line of base64 is, so that it is wrapped'),
        ),
      });
      expect(reply).toEqual({ return: {} });
      expect(await shell(guest(), 'grep -c "^proxmox:[$]" /etc/shadow; userdel proxmox')).toBe('1');
    });

    it('backup: ping, fsfreeze-status, fsfreeze-freeze, fsfreeze-thaw', async () => {
      const client = await connect();
      expect(await client.call('guest-ping')).toEqual({ return: {} });
      expect(await client.call('guest-fsfreeze-status')).toEqual({ return: 'thawed' });
      expect(await client.call('guest-fsfreeze-freeze', {}, 60_000)).toEqual({ return: FILE_SYSTEMS });
      try {
        expect(await client.call('guest-fsfreeze-status')).toEqual({ return: 'frozen' });
        expect(await client.call('guest-get-osinfo')).toMatchObject({ error: { class: 'CommandNotFound' } });
      } finally {
        expect(await client.call('guest-fsfreeze-thaw', {}, 60_000)).toEqual({ return: FILE_SYSTEMS });
      }
      expect(await client.call('guest-fsfreeze-status')).toEqual({ return: 'thawed' });
    });

    describe.runIf(isChr)('a freeze that takes its time', () => {
      it('a status sent meanwhile waits for its end, and says frozen', async () => {
        await installHooks(guest(), { freeze: `sleep ${FREEZE_HOOK_S}` });
        const client = await connect();
        const start = performance.now();
        const freeze = await client.send('guest-fsfreeze-freeze');
        const status = await client.send('guest-fsfreeze-status');
        expect(await client.receive(freeze, 60_000)).toEqual({ return: FILE_SYSTEMS });
        expect(performance.now() - start).toBeGreaterThan(FREEZE_HOOK_S * 1000);
        expect(await client.receive(status, 20_000)).toEqual({ return: 'frozen' });
        expect(await client.call('guest-fsfreeze-thaw', {}, 60_000)).toEqual({ return: FILE_SYSTEMS });
      });

      it('so does one on a new connection, after a time-out', async () => {
        await (await connect()).send('guest-fsfreeze-freeze');
        await sleep(500);
        const later = await connect();
        expect(await later.call('guest-fsfreeze-status', {}, 60_000)).toEqual({ return: 'frozen' });
        expect(await later.call('guest-fsfreeze-thaw', {}, 60_000)).toEqual({ return: FILE_SYSTEMS });
        await removeHooks(guest());
      });
    });
  });
}
