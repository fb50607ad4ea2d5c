/** The administrator's scripts around a freeze: spec/chr-wiki on quiescing. */
import * as v from 'valibot';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  HOOKS_LOG,
  hooksRun,
  installHooks,
  mountDataDisk,
  removeHooks,
  rootIsWritable,
  thawAnyway,
} from '../agent-process.ts';
import { agentName, longRun } from '../environment.ts';
import type { Guest } from '../guest.ts';

const FILE_SYSTEMS = 2;

/** Notes whether the root file system can be written to just then. */
const noteWritable = `(touch /var/hook-probe && echo writable >> ${HOOKS_LOG})`;

const handleReply = v.number();
const readReply = v.object({ 'buf-b64': v.string() });

export function quiesceHooksSuite(guest: () => Guest): void {
  describe.runIf(agentName === 'chr-agent')('freeze hooks', { timeout: 180_000 }, () => {
    const freeze = () => guest().agent('guest-fsfreeze-freeze', undefined, { timeoutS: 90 });
    const thaw = () => guest().agent('guest-fsfreeze-thaw', undefined, { timeoutS: 90 });
    /** Fetched as a host does it: a relative path is one in the files directory. */
    const fetchFile = async (path: string) => {
      const handle = v.parse(handleReply, await guest().agent('guest-file-open', { path }));
      const reply = v.parse(readReply, await guest().agent('guest-file-read', { handle, count: 65536 }));
      await guest().agent('guest-file-close', { handle });
      return Buffer.from(reply['buf-b64'], 'base64').toString();
    };

    beforeAll(async () => {
      await mountDataDisk(guest());
    });

    afterEach(() => thawAnyway(guest()));

    afterAll(async () => {
      await removeHooks(guest());
    });

    it('run before the freeze and after the thaw, in the files directory', async () => {
      await installHooks(guest(), {
        freeze: `${noteWritable}; pwd >> ${HOOKS_LOG}`,
        thaw: noteWritable,
      });
      expect(await freeze()).toBe(FILE_SYSTEMS);
      expect(await hooksRun(guest())).toEqual(['freeze', 'writable', '/var/lib/chr-agent/files']);
      expect(await thaw()).toBe(FILE_SYSTEMS);
      expect((await hooksRun(guest())).slice(3)).toEqual(['thaw', 'writable']);
    });

    it('a failing freeze script stops the freeze; its output is kept', async () => {
      await installHooks(guest(), {
        freeze: 'echo "the database says no"; echo "and why" >&2; exit 3',
        'freeze-fail': noteWritable,
      });
      await expect(guest().virsh('domfsfreeze')).rejects.toThrow('the freeze script failed: exit status 3');
      expect(await guest().agent('guest-fsfreeze-status')).toBe('thawed');
      expect(await hooksRun(guest())).toEqual(['freeze', 'freeze-fail', 'writable']);
      expect(await fetchFile('freeze-script.log')).toBe('the database says no\nand why\n');
    });

    it('a failing thaw script is told after the thaw; its output is kept', async () => {
      await installHooks(guest(), { thaw: 'echo "cannot go on"; kill -TERM $$' });
      expect(await freeze()).toBe(FILE_SYSTEMS);
      await expect(guest().virsh('domfsthaw')).rejects.toThrow('the thaw script failed: killed by signal 15');
      expect(await guest().agent('guest-fsfreeze-status')).toBe('thawed');
      expect(await rootIsWritable(guest(), 20)).toBe(true);
      expect(await hooksRun(guest())).toEqual(['freeze', 'thaw']);
      expect(await fetchFile('thaw-script.log')).toBe('cannot go on\n');
    });

    it('a failing freeze-fail script leaves its output too, in the place of an earlier one', async () => {
      for (const text of ['a long text of the first time', 'second']) {
        await installHooks(guest(), { freeze: 'exit 1', 'freeze-fail': `echo ${text}; exit 1` });
        await expect(freeze()).rejects.toThrow('the freeze script failed: exit status 1');
        expect(await fetchFile('freeze-fail-script.log')).toBe(`${text}\n`);
      }
    });

    it.runIf(longRun)('a freeze script has 60 s', async () => {
      await installHooks(guest(), { freeze: 'echo waiting; sleep 4243' });
      await expect(freeze()).rejects.toThrow('the freeze script failed: timed out after 60 s');
      expect(await hooksRun(guest())).toEqual(['freeze', 'freeze-fail']);
      expect(await fetchFile('freeze-script.log')).toBe('waiting\n');
      expect((await guest().console.run("pgrep -fc '[s]leep 4243'")).output.trim()).toBe('0');
    });

    it('without scripts the freeze just happens', async () => {
      await removeHooks(guest());
      expect(await freeze()).toBe(FILE_SYSTEMS);
      expect(await thaw()).toBe(FILE_SYSTEMS);
    });
  });
}
