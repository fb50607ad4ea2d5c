/**
 * What becomes of frozen file systems when something happens to the agent: docs/architecture.md on quiescing. Only here may
 * that be tried on the root file system.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  AGENT_PROGRAM,
  endAgent,
  forgetHooks,
  hooksRun,
  installHooks,
  mountDataDisk,
  reconfigure,
  removeHooks,
  rootIsWritable,
  shell,
  thawAnyway,
} from '../agent-process.ts';
import { agentName, longRun } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { note } from '../libvirt.ts';

const FILE_SYSTEMS = 2;
const TIME_LIMIT_S = 8;
const KILL_ROUNDS = longRun ? 20 : 3;
/** SIGKILL comes at most that late after the request to freeze. */
const LATEST_KILL_MS = 500;
/** For what happens at once, but under TCG. */
const PROMPT_S = 20;
/** For pgrep -f; does not match the shell that runs pgrep. */
const GUARD = '[c]hr-agent-helper guard';
const ended = 'file systems were thawed by the guard when the agent ended';

export function quiesceGuardSuite(guest: () => Guest): void {
  describe.runIf(agentName === 'chr-agent')('the freeze guard', { timeout: 180_000 }, () => {
    const freeze = async () => {
      expect(await guest().agent('guest-fsfreeze-freeze', undefined, { timeoutS: 60 })).toBe(FILE_SYSTEMS);
      expect(await rootIsWritable(guest(), 1)).toBe(false);
    };
    const thaw = () => guest().agent('guest-fsfreeze-thaw', undefined, { timeoutS: 60 });
    const thawsAsEver = async () => {
      await forgetHooks(guest());
      await freeze();
      expect(await thaw()).toBe(FILE_SYSTEMS);
      expect(await hooksRun(guest())).toEqual(['freeze', 'thaw']);
      expect(await rootIsWritable(guest(), PROMPT_S)).toBe(true);
    };

    beforeAll(async () => {
      await mountDataDisk(guest());
      await installHooks(guest());
    });

    beforeEach(async () => {
      await forgetHooks(guest());
    });

    afterEach(() => thawAnyway(guest()));

    afterAll(async () => {
      await removeHooks(guest());
      await reconfigure(guest(), {});
    });

    it('is locked in memory', async () => {
      await freeze();
      const lines = await shell(
        guest(),
        `cat /proc/$(pgrep -f "${GUARD}")/status | grep -E "VmLck|VmRSS|SigIgn"`,
      );
      note(`the guard: ${lines.replaceAll(/\s+/g, ' ')}`);
      expect(Number(/VmLck:\s+(\d+) kB/.exec(lines)?.[1])).toBeGreaterThan(0);
      expect(await thaw()).toBe(FILE_SYSTEMS);
    });

    it('chr-agent freeze-status tells of the freeze meanwhile', async () => {
      await freeze();
      const said = await guest().console.run(
        `rm -f /run/said; (chr-agent freeze-status > /run/said 2>&1; echo $? >> /run/said) & n=0;
         until tail -n 1 /run/said 2> /dev/null | grep -q '^[0-9]' || [ $n -ge ${PROMPT_S * 10} ]; do
         sleep 0.1; n=$((n + 1)); done; cat /run/said`.replaceAll(/\s*\n\s*/g, ' '),
      );
      expect(await thaw()).toBe(FILE_SYSTEMS);
      expect(said.output).toMatch(/frozen/);
    });

    it('thaws when the agent is killed; the next thaw is an error, freeze-fail has run once', async () => {
      await freeze();
      await endAgent(guest(), 'KILL');
      expect(await rootIsWritable(guest(), PROMPT_S)).toBe(true);
      await guest().waitForAnswer();
      expect(await guest().agent('guest-fsfreeze-status')).toBe('thawed');
      await expect(guest().virsh('domfsthaw')).rejects.toThrow(ended);
      expect(await hooksRun(guest())).toEqual(['freeze', 'freeze-fail']);
      await thawsAsEver();
    });

    it('thaws when the agent is ended', async () => {
      await freeze();
      await endAgent(guest(), 'TERM');
      expect(await rootIsWritable(guest(), PROMPT_S)).toBe(true);
      await guest().waitForAnswer();
      await expect(thaw()).rejects.toThrow('file systems were thawed when the agent was stopped');
      expect(await hooksRun(guest())).toEqual(['freeze', 'freeze-fail']);
      await thawsAsEver();
    });

    it('is replaced when it is killed: the agent thaws', async () => {
      await freeze();
      await shell(guest(), `kill -KILL $(pgrep -f "${GUARD}")`);
      expect(await rootIsWritable(guest(), PROMPT_S)).toBe(true);
      await expect(thaw()).rejects.toThrow('file systems were thawed since the guard had ended');
      expect(await hooksRun(guest())).toEqual(['freeze', 'freeze-fail']);
      await thawsAsEver();
    });

    it('is killed together with the agent: the next agent thaws at its start', async () => {
      await freeze();
      await shell(guest(), `kill -KILL $(pidof ${AGENT_PROGRAM}) $(pgrep -f "${GUARD}")`);
      expect(await rootIsWritable(guest(), PROMPT_S)).toBe(true);
      await guest().waitForAnswer();
      await expect(thaw()).rejects.toThrow(ended);
      expect(await hooksRun(guest())).toEqual(['freeze', 'freeze-fail']);
      await thawsAsEver();
    });

    describe(`with a time limit of ${TIME_LIMIT_S} s`, () => {
      const expired = `file systems were thawed by the guard after ${TIME_LIMIT_S} s`;

      beforeAll(async () => {
        await reconfigure(guest(), { freezeTimeLimitS: TIME_LIMIT_S });
      });

      afterAll(async () => {
        await reconfigure(guest(), {});
      });

      it('thaws when the host does not', async () => {
        await freeze();
        expect(await rootIsWritable(guest(), TIME_LIMIT_S + PROMPT_S)).toBe(true);
        expect(await guest().agent('guest-fsfreeze-status')).toBe('thawed');
        await expect(guest().virsh('domfsthaw')).rejects.toThrow(expired);
        expect(await hooksRun(guest())).toEqual(['freeze', 'freeze-fail']);
        expect(await thaw()).toBe(0);
      });

      it('thaws while the agent is stopped', async () => {
        const start = performance.now();
        await freeze();
        await shell(guest(), `kill -STOP $(pidof ${AGENT_PROGRAM})`);
        expect(await rootIsWritable(guest(), TIME_LIMIT_S + PROMPT_S)).toBe(true);
        note(
          `agent stopped: thawed ${((performance.now() - start) / 1000).toFixed(1)} s after the freeze began`,
        );
        await shell(guest(), `kill -CONT $(pidof ${AGENT_PROGRAM})`);
        await guest().waitForAnswer();
        await expect(thaw()).rejects.toThrow(expired);
        expect(await hooksRun(guest())).toEqual(['freeze', 'freeze-fail']);
      });
    });

    it(`${KILL_ROUNDS} times SIGKILL at some moment of a freeze`, {
      timeout: KILL_ROUNDS * 30_000,
    }, async () => {
      const courses: string[] = [];
      for (let round = 0; round < KILL_ROUNDS; round += 1) {
        await forgetHooks(guest());
        const delayMs = Math.round((LATEST_KILL_MS * round) / (KILL_ROUNDS - 1));
        const [killed, frozen] = await Promise.all([
          guest().console.run(`sleep ${delayMs / 1000}; kill -KILL $(pidof ${AGENT_PROGRAM})`),
          guest()
            .agent('guest-fsfreeze-freeze', undefined, { timeoutS: 60 })
            .then(
              (count) => count === FILE_SYSTEMS,
              () => false,
            ),
        ]);
        expect(killed.status).toBe(0);
        expect(await rootIsWritable(guest(), PROMPT_S)).toBe(true);
        await guest().waitForAnswer();
        expect(await guest().agent('guest-fsfreeze-status')).toBe('thawed');
        const error = await thaw().then(
          () => null,
          (reason: unknown) => String(reason),
        );
        const ran = await hooksRun(guest());
        courses.push(`${delayMs} ms: ${frozen ? 'frozen' : 'freezing'}, hooks ${ran.join(' ')}`);
        // killed before it had begun: nothing has happened, and nothing is told
        if (!frozen && error === null) expect(ran).toEqual(['thaw']);
        else {
          expect(error).toContain(ended);
          expect(ran.filter((hook) => hook === 'freeze-fail')).toHaveLength(1);
          expect(ran).not.toContain('thaw');
          if (frozen) expect(ran).toEqual(['freeze', 'freeze-fail']);
        }
      }
      note(`SIGKILL after\n#   ${courses.join('\n#   ')}`);
      await thawsAsEver();
    });
  });
}
