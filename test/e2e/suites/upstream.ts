/**
 * The agent in the stock agent's place (`compat = "upstream"`): what the two do to a guest, one beside the other, and
 * Ansible as a client that needs that profile. Where CHR_E2E_AGENT is qemu-ga, it is the stock agent itself.
 */
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mountDataDisk, putFile, restartWith, shell } from '../agent-process.ts';
import { DOMAIN } from '../domain.ts';
import { agentName, longRun } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { note, VirshError } from '../libvirt.ts';
import { startExec } from '../script.ts';

const execute = promisify(execFile);
const isChr = agentName === 'chr-agent';
const MARKER = isChr ? '/run/chr-agent/qga.state.isfrozen' : '/run/qga.state.isfrozen';
const ANSIBLE_LIMIT_MS = 300_000;

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** Sends each line of stdin to the reference agent's socket, prints the line that comes back. */
const ask = `use IO::Socket::UNIX;
my $s = IO::Socket::UNIX->new(Peer => '/run/reference/socket') or die "no reference agent: $!";
while (my $line = <STDIN>) {
  local $SIG{ALRM} = sub { die "no answer to $line" };
  alarm 30;
  print $s $line;
  $s->flush;
  print scalar <$s>;
}
`;

const reply = v.union([
  v.object({ return: v.unknown() }),
  v.object({ error: v.object({ class: v.string(), desc: v.string() }) }),
]);
type Outcome = { return: unknown } | { desc: string };

/** What acts on the guest, or would; where both must answer the same. Not here: guest-suspend-hybrid, of which 7.2
 * has another error text. */
const requests: readonly (readonly [string, string, Record<string, unknown>])[] = [
  ['processors', 'guest-get-vcpus', {}],
  ['no processors', 'guest-set-vcpus', { vcpus: [] }],
  ['an unknown processor', 'guest-set-vcpus', { vcpus: [{ 'logical-id': 99, online: false }] }],
  ['an unknown processor, on', 'guest-set-vcpus', { vcpus: [{ 'logical-id': 99, online: true }] }],
  ['the first processor', 'guest-set-vcpus', { vcpus: [{ 'logical-id': 0, online: false }] }],
  ['the first processor, on', 'guest-set-vcpus', { vcpus: [{ 'logical-id': 0, online: true }] }],
  [
    'one processor that can, one that is not there',
    'guest-set-vcpus',
    {
      vcpus: [
        { 'logical-id': 1, online: false },
        { 'logical-id': 99, online: false },
      ],
    },
  ],
  ['the processor back', 'guest-set-vcpus', { vcpus: [{ 'logical-id': 1, online: true }] }],
  ['no member online', 'guest-set-vcpus', { vcpus: [{ 'logical-id': 1 }] }],
  ['memory blocks', 'guest-get-memory-blocks', {}],
  ['size of memory blocks', 'guest-get-memory-block-info', {}],
  [
    'an unknown memory block',
    'guest-set-memory-blocks',
    { 'mem-blks': [{ 'phys-index': 9999, online: false }] },
  ],
  [
    'password of nobody',
    'guest-set-user-password',
    { username: 'nobody-there', password: base64('x'), crypted: false },
  ],
  [
    'password of nobody, crypted',
    'guest-set-user-password',
    { username: 'nobody-there', password: base64('x'), crypted: true },
  ],
  [
    'password with a newline',
    'guest-set-user-password',
    { username: 'root', password: base64('a\nb'), crypted: false },
  ],
  [
    'user with a colon',
    'guest-set-user-password',
    { username: 'ro:ot', password: base64('x'), crypted: false },
  ],
  [
    'user with a newline',
    'guest-set-user-password',
    { username: 'ro\not', password: base64('x'), crypted: false },
  ],
  [
    'password that is not base64',
    'guest-set-user-password',
    { username: 'root', password: '*', crypted: false },
  ],
  ['no crypted', 'guest-set-user-password', { username: 'root', password: base64('x') }],
  ['keys of a user without a file', 'guest-ssh-get-authorized-keys', { username: 'root' }],
  ['a comment as key', 'guest-ssh-add-authorized-keys', { username: 'root', keys: ['# no'] }],
  ['two lines as key', 'guest-ssh-add-authorized-keys', { username: 'root', keys: ['a\nb'] }],
  [
    'keys to remove where there are none',
    'guest-ssh-remove-authorized-keys',
    { username: 'root', keys: ['a'] },
  ],
  ['a time that is none', 'guest-set-time', { time: -1e18 }],
  ['status', 'guest-fsfreeze-status', {}],
  ['an empty list of mount points', 'guest-fsfreeze-freeze-list', { mountpoints: [] }],
  [
    'mount points that are none',
    'guest-fsfreeze-freeze-list',
    { mountpoints: ['/no/such', '/proc', '/usr'] },
  ],
  ['thaw of what is not frozen', 'guest-fsfreeze-thaw', {}],
  ['an unknown shutdown mode', 'guest-shutdown', { mode: 'explode' }],
];

export function upstreamSuite(guest: () => Guest): void {
  describe('upstream profile', { timeout: 120_000 }, () => {
    beforeAll(async () => {
      await mountDataDisk(guest());
      if (isChr) await restartWith(guest(), { compat: 'upstream' });
    });

    afterAll(async () => {
      if (isChr) await restartWith(guest(), {});
    });

    it('guest-exec: argument vector, environment, streams apart, signals', async () => {
      const script = 'echo $0 $NAME; echo error >&2; exit 3';
      const args = {
        path: '/bin/sh',
        arg: ['-c', script, 'zero'],
        env: ['NAME=value'],
        'capture-output': true,
      };
      const pid = await startExec(guest(), args);
      await shell(guest(), `while [ -e /proc/${pid}/exe ]; do sleep 0.1; done`);
      const status = await guest().agent('guest-exec-status', { pid });
      expect(status).toEqual({
        ...{ exited: true, exitcode: 3, 'out-truncated': false, 'err-truncated': false },
        ...{ 'out-data': base64('zero value\n'), 'err-data': base64('error\n') },
      });
      await expect(guest().agent('guest-exec', { 'input-data': base64('true') })).rejects.toThrow(
        "Parameter 'path' is missing",
      );
    });

    it('freezes and thaws all, with the stock marker', async () => {
      expect(await guest().agent('guest-fsfreeze-freeze')).toBe(2);
      expect((await guest().console.run(`test -e ${MARKER}`)).status).toBe(0);
      expect(await guest().agent('guest-fsfreeze-thaw')).toBe(2);
      expect((await guest().console.run(`test -e ${MARKER}`)).status).toBe(1);
    });

    besideStockAgent(guest);
    ansible(guest);
  });
}

function besideStockAgent(guest: () => Guest): void {
  describe.runIf(isChr)('beside the stock agent in the same guest', () => {
    const ours = async (name: string, args: Record<string, unknown>): Promise<Outcome> => {
      try {
        return { return: await guest().agent(name, args) };
      } catch (error) {
        if (!(error instanceof VirshError)) throw error;
        return { desc: error.message.split(`QEMU agent command '${name}': `)[1] ?? error.message };
      }
    };
    const theirsInOrder = async (
      wanted: readonly (readonly [string, Record<string, unknown>])[],
    ): Promise<Outcome[]> => {
      const lines = wanted.map(([name, args]) => `${JSON.stringify({ execute: name, arguments: args })}\n`);
      // no file: this must work while everything is frozen
      const output = await shell(
        guest(),
        `echo ${base64(lines.join(''))} | base64 -d | perl /run/reference/ask`,
      );
      return output.split('\n').map((line) => {
        const answer = v.parse(reply, JSON.parse(line));
        return 'error' in answer ? { desc: answer.error.desc } : answer;
      });
    };
    const theirs = async (name: string, args: Record<string, unknown>): Promise<Outcome> =>
      (await theirsInOrder([[name, args]]))[0] ?? { desc: 'no answer' };
    /** 7.2 does not tell what the program said. */
    const comparable = (outcome: Outcome | undefined) =>
      outcome !== undefined && 'desc' in outcome
        ? { desc: outcome.desc.replace(/^(child process has failed to [^:]*): .*$/s, '$1') }
        : outcome;
    let expected: Outcome[] = [];

    beforeAll(async () => {
      await putFile(guest(), '/run/reference/ask', ask);
      await shell(
        guest(),
        `(setsid qemu-ga -m unix-listen -p /run/reference/socket -t /run/reference > /dev/null 2>&1 &);
         n=0; until [ -S /run/reference/socket ] || [ $n -ge 100 ]; do sleep 0.1; n=$((n + 1)); done`,
      );
      expected = await theirsInOrder(requests.map(([, name, args]) => [name, args]));
    });

    afterAll(async () => {
      await shell(guest(), 'kill $(pidof qemu-ga); rm -rf /run/reference');
    });

    it.each(requests.map((request, at) => [...request, at] as const))(
      '%s: %s',
      async (_what, name, args, at) => {
        expect(comparable(await ours(name, args))).toEqual(comparable(expected[at]));
      },
    );

    it('freezes as much', async () => {
      await shell(guest(), 'mkdir -p /mnt/again && mount --bind /srv/data /mnt/again');
      try {
        for (const agent of [ours, theirs]) {
          expect(await agent('guest-fsfreeze-freeze', {})).toEqual({ return: 2 });
          expect(await agent('guest-fsfreeze-freeze', {})).toHaveProperty('desc');
          expect(await agent('guest-fsfreeze-status', {})).toEqual({ return: 'frozen' });
          expect(await agent('guest-fsfreeze-thaw', {})).toEqual({ return: 2 });
          expect(await agent('guest-fsfreeze-freeze-list', { mountpoints: ['/srv/data'] })).toEqual({
            return: 1,
          });
          expect(await agent('guest-fsfreeze-thaw', {})).toEqual({ return: 1 });
        }
      } finally {
        await shell(guest(), 'umount /mnt/again');
      }
    });
  });
}

function ansible(guest: () => Guest): void {
  describe.runIf(longRun)('Ansible by libvirt_qemu', { timeout: ANSIBLE_LIMIT_MS }, () => {
    const run = async (module: string, args = '') => {
      const home = path.join(path.dirname(guest().dataDisk), 'ansible');
      await mkdir(home, { recursive: true });
      const start = performance.now();
      const { stdout } = await execute(
        'ansible',
        [
          ...['all', '-i', `${DOMAIN},`, '-c', 'community.libvirt.libvirt_qemu', '-o'],
          ...['-e', `ansible_libvirt_uri=${guest().libvirt.environment.LIBVIRT_DEFAULT_URI}`],
          ...['-e', 'ansible_python_interpreter=/usr/bin/python3', '-m', module],
          ...(args === '' ? [] : ['-a', args]),
        ],
        {
          env: { ...process.env, HOME: home, LC_ALL: 'C.UTF-8', ANSIBLE_NOCOLOR: '1' },
          timeout: ANSIBLE_LIMIT_MS,
        },
      );
      note(
        `ansible -m ${module} ${args}: ${stdout.trim()} (${((performance.now() - start) / 1000).toFixed(1)} s)`,
      );
      return stdout;
    };

    it('ping', async () => {
      expect(await run('ping')).toMatch(/^chr \| SUCCESS => .*"ping": "pong"/);
    });

    it('copy', async () => {
      const source = path.join(path.dirname(guest().dataDisk), 'copied');
      await writeFile(source, 'copied by Ansible\n');
      expect(await run('copy', `src=${source} dest=/root/copied mode=0640`)).toMatch(/^chr \| CHANGED => /);
      expect(await shell(guest(), 'cat /root/copied; stat -c %a /root/copied')).toBe(
        'copied by Ansible\n640',
      );
      expect(await run('copy', `src=${source} dest=/root/copied mode=0640`)).toMatch(
        /^chr \| SUCCESS => .*"changed": false/,
      );
    });

    it('command, and one that fails', async () => {
      expect(await run('command', 'cat /etc/hostname')).toMatch(/^chr \| CHANGED \| rc=0 \| .*chrguest/);
      const failure: unknown = await run('command', 'false').catch((error: unknown) => error);
      const { stdout } = v.parse(v.object({ stdout: v.string() }), failure);
      expect(stdout).toMatch(/^chr \| FAILED.*\brc\W+1\b/);
    });
  });
}
