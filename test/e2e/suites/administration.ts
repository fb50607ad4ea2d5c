/** What an administrator does to a guest with virsh, through the agent, each seen to have happened in the guest. */
import { stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AGENT_LOG, DATA_MOUNT, mountDataDisk, putFile, shell } from '../agent-process.ts';
import { agentName } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { note } from '../libvirt.ts';

const isChr = agentName === 'chr-agent';
const USER = 'e2e';
const LOGIN_TIME_S = 1_700_000_000;
const STATE_LIMIT_MS = 30_000;
const GARBAGE_BYTES = 32 << 20;
const keyA = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKeyAKeyAKeyAKeyAKeyAKeyAKeyAKeyAKeyA one@host';
const keyB = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKeyBKeyBKeyBKeyBKeyBKeyBKeyBKeyBKeyB two@host';

const load = v.strictObject({ load1m: v.number(), load5m: v.number(), load15m: v.number() });

/** An entry of utmp(5): that the user is logged in. */
function utmpEntry(user: string, loginTimeS: number): Buffer {
  const entry = Buffer.alloc(384);
  entry.writeInt16LE(7, 0);
  entry.write('tty9', 8);
  entry.write(user, 44);
  entry.writeInt32LE(loginTimeS, 340);
  return entry;
}

export function administrationSuite(guest: () => Guest): void {
  describe('administration by virsh', () => {
    /** `name : value` lines as a map. */
    const facts = async (name: string, ...args: string[]) =>
      new Map(
        (await guest().virsh(name, ...args)).split('\n').map((line): [string, string] => {
          const colon = line.indexOf(':');
          return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
        }),
      );
    /** What /etc/shadow has for the user. */
    const hash = () => shell(guest(), `grep '^${USER}:' /etc/shadow | cut -d: -f2`);
    const crypt = (password: string, salt: string) =>
      shell(guest(), `perl -e 'print crypt($ARGV[0], $ARGV[1])' '${password}' '${salt}'`);
    const onlineCpus = () => shell(guest(), 'cat /sys/devices/system/cpu/online');

    beforeAll(async () => {
      await mountDataDisk(guest());
      await shell(guest(), `useradd -m ${USER}`);
    });

    afterAll(async () => {
      await shell(guest(), `userdel -r ${USER} 2> /dev/null; : > /run/utmp`);
    });

    describe('guestinfo', () => {
      it('--user', async () => {
        expect(await facts('guestinfo', '--user')).toEqual(new Map([['user.count', '0']]));
        await putFile(guest(), '/run/utmp', utmpEntry(USER, LOGIN_TIME_S));
        const info = await facts('guestinfo', '--user');
        expect(info).toEqual(
          new Map([
            ['user.count', '1'],
            ['user.0.name', USER],
            ['user.0.login-time', String(LOGIN_TIME_S * 1000)],
          ]),
        );
      });

      it('--filesystem', async () => {
        const info = await facts('guestinfo', '--filesystem');
        expect(info.get('fs.count')).toBe('2');
        const at = (key: string, value: string) =>
          [...info].find(([name, text]) => name.endsWith(key) && text === value)?.[0].split('.')[1];
        for (const [mountPoint, device] of [
          ['/', 'vda'],
          [DATA_MOUNT, 'vdb'],
        ] as const) {
          const prefix = `fs.${at('.mountpoint', mountPoint)}`;
          expect(info.get(`${prefix}.name`)).toBe(device);
          expect(info.get(`${prefix}.fstype`)).toBe('ext4');
          expect(Number(info.get(`${prefix}.used-bytes`))).toBeGreaterThan(0);
          expect(Number(info.get(`${prefix}.total-bytes`))).toBeGreaterThan(
            Number(info.get(`${prefix}.used-bytes`)),
          );
          // libvirt found its disk by the PCI address
          expect(info.get(`${prefix}.disk.count`)).toBe('1');
          expect(info.get(`${prefix}.disk.0.alias`)).toBe(device);
          expect(info.get(`${prefix}.disk.0.device`)).toBe(`/dev/${device}`);
        }
      });

      it('--disk', async () => {
        const info = await facts('guestinfo', '--disk');
        const names = [...info].filter(([key]) => /^disk\.\d+\.name$/.test(key)).map(([, name]) => name);
        expect(names.sort()).toEqual(['/dev/vda', '/dev/vdb']);
        expect(info.get('disk.0.partition')).toBe('no');
        expect([info.get('disk.0.alias'), info.get('disk.1.alias')].sort()).toEqual(['vda', 'vdb']);
      });

      it('of all kinds at once', async () => {
        const info = await facts('guestinfo');
        for (const key of [
          'user.count',
          'os.id',
          'timezone.offset',
          'hostname',
          'fs.count',
          'disk.count',
          'if.count',
        ]) {
          expect(info.has(key), key).toBe(true);
        }
      });

      // newer than virsh 9.0
      it('guest-get-load', async () => {
        const averages = await guest()
          .agent('guest-get-load')
          .catch((error: unknown) => {
            note(`no guest-get-load: ${error}`); // qemu-ga 7.2
            return undefined;
          });
        if (averages === undefined) return;
        const [one] = (await shell(guest(), 'cat /proc/loadavg')).split(' ');
        expect(Math.abs(v.parse(load, averages).load1m - Number(one))).toBeLessThan(1);
      });
    });

    it('domfstrim gives blocks back to the host', async () => {
      await shell(
        guest(),
        `head -c ${GARBAGE_BYTES} /dev/urandom > ${DATA_MOUNT}/garbage && sync -f ${DATA_MOUNT}`,
      );
      const usedBytes = async () => (await stat(guest().dataDisk)).blocks * 512;
      const before = await usedBytes();
      await shell(guest(), `rm ${DATA_MOUNT}/garbage && sync -f ${DATA_MOUNT}`);
      await guest().virsh('domfstrim');
      const after = await usedBytes();
      note(`the data disk takes ${before >> 20} MiB before domfstrim, ${after >> 20} MiB after it`);
      expect(before - after).toBeGreaterThan(GARBAGE_BYTES / 2);
      await expect(guest().virsh('domfstrim', '--mountpoint', '/')).rejects.toThrow('not supported');
    });

    describe('set-user-password', () => {
      const secret = 'correct horse: battery';

      it('plain', async () => {
        await guest().virsh('set-user-password', USER, secret);
        const stored = await hash();
        expect(stored).toMatch(/^\$/);
        expect(await crypt(secret, stored)).toBe(stored);
      });

      it('--encrypted', async () => {
        const wanted = await crypt('another one', '$6$saltsalt$');
        await guest().virsh('set-user-password', '--encrypted', USER, wanted);
        expect(await hash()).toBe(wanted);
      });

      it('of nobody', async () => {
        await expect(guest().virsh('set-user-password', 'nobody-there', secret)).rejects.toThrow(
          // 7.2 does not tell what chpasswd said
          isChr
            ? /child process has failed to set user password: .*nobody-there/
            : 'child process has failed to set user password',
        );
      });

      it('leaves no password in the log', async () => {
        const log = await shell(guest(), `cat ${AGENT_LOG}`);
        expect(log).not.toContain(secret);
        expect(log).not.toContain(Buffer.from(secret).toString('base64'));
      });
    });

    it('guestvcpus, setvcpus --guest', async () => {
      expect(await facts('guestvcpus')).toEqual(
        new Map([
          ['vcpus', '0-1'],
          ['online', '0-1'],
          ['offlinable', '1'],
        ]),
      );
      await guest().virsh('setvcpus', '1', '--guest');
      expect(await onlineCpus()).toBe('0');
      expect((await facts('guestvcpus')).get('online')).toBe('0');
      await guest().virsh('setvcpus', '2', '--guest');
      expect(await onlineCpus()).toBe('0-1');
      await guest().virsh('guestvcpus', '--disable', '--cpulist', '1');
      expect(await onlineCpus()).toBe('0');
      await guest().virsh('guestvcpus', '--enable', '--cpulist', '1');
      expect(await onlineCpus()).toBe('0-1');
      await expect(guest().virsh('guestvcpus', '--disable', '--cpulist', '0')).rejects.toThrow(
        'not offlinable',
      );
    });

    it('get-user-sshkeys, set-user-sshkeys', async () => {
      const file = path.join(path.dirname(guest().dataDisk), 'keys');
      const set = async (keys: string[], ...options: string[]) => {
        await writeFile(file, `${keys.join('\n')}\n`);
        await guest().virsh('set-user-sshkeys', USER, '--file', file, ...options);
      };
      // virsh 9.0 prints one key after the other
      const get = async () =>
        (await guest().virsh('get-user-sshkeys', USER))
          .split(/\s*(?=ssh-ed25519)/)
          .filter(Boolean)
          .sort();
      await expect(guest().virsh('get-user-sshkeys', USER)).rejects.toThrow('No such file or directory');
      await set([keyA]);
      expect(await get()).toEqual([keyA]);
      await set([keyB]);
      expect(await get()).toEqual([keyA, keyB]);
      await set([keyB], '--reset');
      expect(await get()).toEqual([keyB]);
      expect(
        await shell(guest(), `stat -c '%U %G %a' /home/${USER}/.ssh /home/${USER}/.ssh/authorized_keys`),
      ).toBe(`${USER} ${USER} 700\n${USER} ${USER} 600`);
      await set([keyA, keyB]);
      await set([keyA], '--remove');
      expect(await get()).toEqual([keyB]);
    });

    it('dompmsuspend hybrid, which the guest cannot do', async () => {
      await expect(guest().virsh('dompmsuspend', 'hybrid')).rejects.toThrow(
        isChr ? 'the requested suspend mode is not supported by the guest' : 'suspend mode',
      );
      expect(await guest().state()).toBe('running');
    });
  });
}

export function suspendSuite(guest: () => Guest): void {
  describe('suspending', { timeout: 300_000 }, () => {
    const bootId = () => shell(guest(), 'cat /proc/sys/kernel/random/boot_id');
    const stateBecomes = async (wanted: string) => {
      const limit = performance.now() + STATE_LIMIT_MS;
      while ((await guest().state()) !== wanted && performance.now() < limit) await sleep(200);
      expect(await guest().state()).toBe(wanted);
    };

    it('dompmsuspend disk: without swap the kernel gives up and the guest goes on', async () => {
      const before = await bootId();
      // the kernel closes the port meanwhile, so the agent's error may not arrive; that is success for libvirt
      await guest()
        .virsh('dompmsuspend', 'disk')
        .catch((error: unknown) => note(String(error)));
      await guest().waitForAnswer();
      expect(await bootId()).toBe(before);
    });

    // under TCG the kernel does not survive waking up (it boots anew, or hangs), so the guest is booted afterwards
    it('dompmsuspend mem, dompmwakeup', async () => {
      await guest().virsh('dompmsuspend', 'mem');
      await stateBecomes('pmsuspended');
      await guest().virsh('dompmwakeup');
      await stateBecomes('running');
      await guest().destroy();
      await guest().boot('fast');
    });
  });
}
