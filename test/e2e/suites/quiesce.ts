/** Freezing all that the guest has, its root file system too, with writers at work: spec/qemu-ga.md sections 4 and 5. */
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  AGENT_LOG,
  agentPid,
  DATA_MOUNT,
  mountDataDisk,
  putFile,
  reconfigure,
  shell,
  thawAnyway,
} from '../agent-process.ts';
import { agentName } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { note } from '../libvirt.ts';
import { scriptEnd, startExec } from '../script.ts';

const isChr = agentName === 'chr-agent';
const FROZEN_MS = 10_000;
/** More than what the daemon keeps of an output in memory: it spills. */
const SPILLED_BYTES = 300 << 10;
/** The root disk and the data disk. */
const FILE_SYSTEMS = 2;
const commandsWhileFrozen = [
  ...['guest-fsfreeze-status', 'guest-fsfreeze-thaw', 'guest-info', 'guest-ping'],
  ...['guest-sync', 'guest-sync-delimited'],
];
const refusedWhileFrozen: readonly (readonly [string, Record<string, unknown>?])[] = [
  ['guest-get-time'],
  ['guest-get-fsinfo'],
  ['guest-fsfreeze-freeze'],
  ['guest-exec', { path: '/bin/true' }],
  ['guest-file-open', { path: '/etc/passwd' }],
  ['guest-fstrim'],
];

const info = v.object({
  supported_commands: v.array(v.object({ name: v.string(), enabled: v.boolean() })),
});

/** Prints each thread of a process that waits in the kernel without being interruptible, in 50 looks. Writes nothing. */
const watchThreads = `#!/bin/sh
n=0
while [ $n -lt 50 ]; do
  for stat in /proc/$1/task/*/stat; do
    read -r line < $stat
    case \${line##*) } in
      D*) read -r where < \${stat%stat}wchan; echo "$n \${line%%)*} $where" ;;
    esac
  done
  sleep 0.2
  n=$((n + 1))
done
`;

/** Appends to a file for ever. */
const writer = `#!/bin/sh
echo $$ > /run/writer.$2
while :; do echo "line of a writer" >> $1; sleep 0.05; done
`;

/** Prints SPILLED_BYTES, waits for a file, prints $2 more and ends. */
const talker = `size=${SPILLED_BYTES}
head -c $size /dev/zero | tr '\\0' a
echo $$ > /run/talker.NAME
while [ ! -e /run/go-on ]; do sleep 0.1; done
head -c MORE /dev/zero | tr '\\0' b
echo end
`;

export function quiesceSuite(guest: () => Guest): void {
  describe('quiescing, the root file system too', { timeout: 180_000 }, () => {
    const sizes = async (...files: string[]) =>
      (await shell(guest(), `stat -c %s ${files.join(' ')}`)).split('\n').map(Number);
    const writtenBytes = async (pid: number) =>
      Number(await shell(guest(), `awk '/^write_bytes/ { print $2 }' /proc/${pid}/io`));

    beforeAll(async () => {
      await mountDataDisk(guest());
      await putFile(guest(), '/run/watch-threads', watchThreads, '755');
      await putFile(guest(), '/run/writer', writer, '755');
      if (isChr) await reconfigure(guest(), { logLevel: 'debug', scriptTimeLimitS: 60 });
    });

    afterEach(() => thawAnyway(guest()));

    afterAll(async () => {
      await shell(guest(), 'kill $(cat /run/writer.*) ; rm -f /run/go-on /run/writer.* /run/talker.*; true');
      if (isChr) await reconfigure(guest(), {});
    });

    it('domfsinfo', async () => {
      const table = await guest().virsh('domfsinfo');
      expect(table).toMatch(/^\s*\/\s+vda\s+ext4\s+vda\s*$/m);
      expect(table).toMatch(/^\s*\/srv\/data\s+vdb\s+ext4\s+vdb\s*$/m);
    });

    it('domfsfreeze, domfsthaw', async () => {
      expect(await guest().virshVerbosely('domfsfreeze')).toBe(`Froze ${FILE_SYSTEMS} filesystem(s)`);
      expect(await guest().agent('guest-fsfreeze-status')).toBe('frozen');
      expect(await guest().virshVerbosely('domfsthaw')).toBe(`Thawed ${FILE_SYSTEMS} filesystem(s)`);
      expect(await guest().agent('guest-fsfreeze-status')).toBe('thawed');
      expect(await guest().virshVerbosely('domfsthaw')).toBe('Thawed 0 filesystem(s)');
    });

    it('domfsfreeze of one mount point, of none that there is', async () => {
      const frozen = await guest().virshVerbosely('domfsfreeze', '--mountpoint', DATA_MOUNT);
      expect(frozen).toBe('Froze 1 filesystem(s)');
      await shell(guest(), 'touch /var/still-writable');
      expect(await guest().virshVerbosely('domfsthaw')).toBe('Thawed 1 filesystem(s)');
      const none = await guest().virshVerbosely('domfsfreeze', '--mountpoint', '/no/such');
      expect(none).toBe('Froze 0 filesystem(s)');
      expect(await guest().agent('guest-fsfreeze-status')).toBe('thawed');
    });

    it('a bind mount and a second mount of a file system are frozen with it, once', async () => {
      await shell(guest(), `mkdir -p /mnt/again && mount --bind ${DATA_MOUNT} /mnt/again`);
      try {
        expect(await guest().agent('guest-fsfreeze-freeze')).toBe(FILE_SYSTEMS);
        expect(await guest().agent('guest-fsfreeze-thaw')).toBe(FILE_SYSTEMS);
      } finally {
        await shell(guest(), 'umount /mnt/again');
      }
    });

    it('ten seconds frozen, with writers, spilling scripts and a log on what is frozen', async () => {
      const agent = await agentPid(guest());
      const files = ['/var/writer', `${DATA_MOUNT}/writer`];
      await shell(
        guest(),
        `${files.map((file, at) => `(setsid /run/writer ${file} ${at} > /dev/null 2>&1 &);`).join(' ')}
         until [ -s ${files[0]} ] && [ -s ${files[1]} ]; do sleep 0.1; done`,
      );
      const start = (name: string, moreBytes: number) =>
        startExec(guest(), {
          'capture-output': true,
          'input-data': Buffer.from(talker.replace('NAME', name).replace('MORE', String(moreBytes))).toString(
            'base64',
          ),
        });
      const scripts = isChr
        ? { ending: await start('ending', 1000), long: await start('long', 400 << 10) }
        : null;
      const both = '/run/talker.ending /run/talker.long';
      if (scripts !== null) await shell(guest(), `until cat ${both} > /dev/null 2>&1; do sleep 0.1; done`);

      expect(await guest().agent('guest-fsfreeze-freeze', undefined, { timeoutS: 60 })).toBe(FILE_SYSTEMS);
      const before = {
        files: await sizes(...files, AGENT_LOG),
        writtenBytes: await writtenBytes(agent),
      };
      let pings = 0;
      try {
        expect(await guest().agent('guest-fsfreeze-status')).toBe('frozen');
        const { supported_commands: commands } = v.parse(info, await guest().agent('guest-info'));
        const enabled = commands.filter((command) => command.enabled).map(({ name }) => name);
        expect(enabled.sort()).toEqual(commandsWhileFrozen);
        for (const [name, args] of refusedWhileFrozen) {
          await expect(guest().agent(name, args)).rejects.toThrow(`Command ${name} has been disabled`);
        }
        if (isChr) {
          // its state is on what is frozen
          expect(await shell(guest(), 'chr-agent license print')).toMatch(/level: free/);
          const { output } = await guest().console.run('chr-agent license generate-new-id');
          expect(output).toMatch(/frozen/);
        }
        await shell(guest(), ': > /run/go-on');
        const watching = guest().console.run(`/run/watch-threads ${agent}`);
        const frozenAt = performance.now();
        while (performance.now() < frozenAt + FROZEN_MS) {
          expect(await guest().agent('guest-ping', undefined, { timeoutS: 5 })).toEqual({});
          pings += 1;
          await sleep(500);
        }
        expect((await watching).output).toBe('');
        if (scripts !== null) {
          // one has ended, the other one's pipe is full
          await shell(guest(), 'test ! -e /proc/$(cat /run/talker.ending)');
          await shell(guest(), 'test -e /proc/$(cat /run/talker.long)');
        }
        const states = await shell(
          guest(),
          "for p in $(cat /run/writer.*); do awk '{ print $3 }' /proc/$p/stat; done",
        );
        expect(states).toBe('D\nD');
        expect({ files: await sizes(...files, AGENT_LOG), writtenBytes: await writtenBytes(agent) }).toEqual(
          before,
        );
      } finally {
        expect(await guest().agent('guest-fsfreeze-thaw', undefined, { timeoutS: 60 })).toBe(FILE_SYSTEMS);
      }
      note(`${pings} pings in ${FROZEN_MS} ms with / frozen`);

      await sleep(1000);
      const after = await sizes(...files);
      expect(after[0]).toBeGreaterThan(before.files[0] ?? 0);
      expect(after[1]).toBeGreaterThan(before.files[1] ?? 0);
      if (scripts === null) return;
      const journal = await shell(guest(), 'cat /var/lib/chr-agent/jobs.journal');
      for (const [pid, moreBytes] of [
        [scripts.ending, 1000],
        [scripts.long, 400 << 10],
      ] as const) {
        const { exitcode, output } = await scriptEnd(guest(), pid);
        expect(exitcode).toBe(0);
        // not toBe: a difference of 700 KB is not worth printing
        const expected = `${'a'.repeat(SPILLED_BYTES)}${'b'.repeat(moreBytes)}end\n`;
        expect([output.length, output === expected]).toEqual([expected.length, true]);
        expect(journal).toContain(`"pid":${pid},`);
      }
      expect(
        await shell(guest(), `tail -n +1 ${AGENT_LOG} | grep -c 'Command guest-fstrim has been disabled'`),
      ).toBe('1');
      expect(await guest().agent('guest-get-time')).toBeTypeOf('number');
    });
  });
}
