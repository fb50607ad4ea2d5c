/** The license and its upload limit in a real guest: a virtio network card, and a kernel that has fq_codel (issue 7). */
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { agentPid, endAgent, putFile, shell, thawAnyway } from '../agent-process.ts';
import { agentName } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { note } from '../libvirt.ts';

const FREE_BITS_PER_SECOND = 1_000_000;
const MEASURED_S = 10;
/** Everything takes its time under emulation; what heals does so within a second on a real machine. */
const PATIENCE = { timeout: 30_000, interval: 200 };

const qdiscs = v.array(
  v.object({ kind: v.string(), handle: v.string(), bytes: v.number(), root: v.optional(v.boolean()) }),
);

/** Sends datagrams to the gateway, more than the limit lets through, until it is killed. */
const flood = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(('10.0.2.2', 9))
while True:
    try: s.send(bytes(1400))
    except OSError: pass
`;

export function limitsSuite(guest: () => Guest): void {
  describe.runIf(agentName === 'chr-agent')('the upload limit', { timeout: 180_000 }, () => {
    const listed = async () =>
      v.parse(qdiscs, JSON.parse(await shell(guest(), 'tc -s -j qdisc show dev eth0')));
    const kinds = async () => (await listed()).map(({ kind, handle }) => `${kind} ${handle}`);
    const ours = ['tbf c4a0:', 'fq_codel c4a1:'];

    it('is on the network card, with fq_codel below', async () => {
      await expect.poll(kinds, PATIENCE).toEqual(ours);
      const shown = await shell(guest(), 'chr-agent shaper show');
      expect(shown).toMatch(/^level free\r?$/m);
      expect(shown).toMatch(/^eth0 +- +1 Mbit\/s .*fq_codel/m);
      expect(await shell(guest(), 'chr-agent license print')).toMatch(/level: free/);
      expect(await shell(guest(), 'chr-agent license upgrades')).toBe('yes');
    });

    it('lets through what the free level has', async () => {
      await putFile(guest(), '/run/flood.py', flood);
      await shell(guest(), '(setsid python3 /run/flood.py > /dev/null 2>&1 & echo $! > /run/flood.pid)');
      try {
        const sample = async () => {
          const [time = '', ...json] = (
            await shell(guest(), 'cut -d" " -f1 /proc/uptime; tc -s -j qdisc show dev eth0')
          ).split('\n');
          const root = v.parse(qdiscs, JSON.parse(json.join(''))).find((each) => each.root);
          return { timeS: Number(time), bytes: root?.bytes ?? 0 };
        };
        await shell(guest(), 'sleep 3');
        const before = await sample();
        await shell(guest(), `sleep ${MEASURED_S}`);
        const after = await sample();
        const rate = ((after.bytes - before.bytes) * 8) / (after.timeS - before.timeS);
        note(`upload at the free level: ${Math.round(rate)} bit/s`);
        expect(rate).toBeGreaterThan(0.97 * FREE_BITS_PER_SECOND);
        expect(rate).toBeLessThan(1.02 * FREE_BITS_PER_SECOND);
      } finally {
        await shell(guest(), 'kill $(cat /run/flood.pid)');
      }
    });

    it('comes back when somebody takes it away, also while file systems are frozen', async () => {
      await shell(guest(), 'tc qdisc del dev eth0 root');
      await expect.poll(kinds, PATIENCE).toEqual(ours);
      await shell(guest(), 'ip link set eth0 mtu 1400');
      await expect.poll(kinds, PATIENCE).toEqual(ours);
      await shell(guest(), 'ip link set eth0 mtu 1500');
      await guest().agent('guest-fsfreeze-freeze', undefined, { timeoutS: 60 });
      try {
        await shell(guest(), 'tc qdisc del dev eth0 root');
        await expect.poll(kinds, PATIENCE).toEqual(ours);
      } finally {
        await guest().agent('guest-fsfreeze-thaw', undefined, { timeoutS: 60 });
        await thawAnyway(guest());
      }
    });

    it('stays when the agent is killed', async () => {
      const before = await agentPid(guest());
      await endAgent(guest(), 'KILL');
      expect(await kinds()).toEqual(ours);
      await guest().waitForAnswer();
      expect(await agentPid(guest())).not.toBe(before);
      expect(await kinds()).toEqual(ours);
    });
  });
}
