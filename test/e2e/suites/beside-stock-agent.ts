/**
 * `compat = "upstream"` and Debian's qemu-ga 7.2 in the same guest, on the same requests: what acts on a guest may be compared
 * only here. What only reads is compared on the machine itself too (test/integration/qemu-ga).
 */
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { putFile, shell } from '../agent-process.ts';
import { agentName } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { note, VirshError } from '../libvirt.ts';
import { courses, readings, requests } from './stock-requests.ts';

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

/** Members that change while we look: only their kind is compared. */
const changing = new Set(['used-bytes', 'total-bytes', 'trimmed', 'login-time']);
/** All that these have below them changes. */
const counters = new Set(['statistics', 'stats']);
/** Not in 7.2. */
const newer = new Set(['total-bytes-privileged']);

/** A reply without what may differ: lists are sorted, what changes is told as its kind. */
function stable(value: unknown, name = '', changes = false): unknown {
  if (Array.isArray(value)) {
    return value
      .map((each) => stable(each, '', changes))
      .sort((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)));
  }
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).filter(([member]) => !newer.has(member));
    // guest-get-cpustats: all but the number
    const isCpu = 'cpu' in value;
    return Object.fromEntries(
      members
        .map(([member, each]): [string, unknown] => [
          member,
          stable(each, member, changes || counters.has(member) || (isCpu && member !== 'cpu')),
        ])
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  }
  return typeof value === 'number' && (changes || changing.has(name)) ? 'number' : value;
}

export function besideStockAgent(guest: () => Guest): void {
  describe.runIf(agentName === 'chr-agent')('beside the stock agent in the same guest', () => {
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
      await shell(
        guest(),
        `kill $(pidof qemu-ga); rm -rf /run/reference /root/.ssh; usermod -p '*' root;
         date -s @${Math.floor(Date.now() / 1000)} && hwclock -w`,
      );
    });

    it.each(requests.map((request, at) => [...request, at] as const))(
      '%s: %s',
      async (_what, name, args, at) => {
        expect(comparable(await ours(name, args))).toEqual(comparable(expected[at]));
      },
    );

    it.each(readings)('%s', async (name) => {
      expect(stable(await ours(name, {}))).toEqual(stable(await theirs(name, {})));
    });

    it.each(courses)('changes the same: $title', async ({ before, requests: wanted, look }) => {
      const seen: unknown[] = [];
      for (const agent of [theirs, ours]) {
        await shell(guest(), before);
        const outcomes: unknown[] = [];
        for (const [name, args] of wanted) outcomes.push(stable(await agent(name, args)));
        seen.push({ outcomes, guest: await shell(guest(), look) });
      }
      expect(seen[1]).toEqual(seen[0]);
      note(`${wanted[0]?.[0]}, both agents: ${JSON.stringify(seen[0])}`);
    });

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
