/**
 * The agent in the stock agent's place (`compat = "upstream"`): what that profile promises, the two beside each other, and
 * Ansible as a client that needs that profile. Where CHR_E2E_AGENT is qemu-ga, it is the stock agent itself.
 */
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mountDataDisk, restartWith, shell } from '../agent-process.ts';
import { DOMAIN } from '../domain.ts';
import { agentName, longRun } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { note } from '../libvirt.ts';
import { startExec } from '../script.ts';
import { besideStockAgent } from './beside-stock-agent.ts';

const execute = promisify(execFile);
const isChr = agentName === 'chr-agent';
const MARKER = isChr ? '/run/chr-agent/qga.state.isfrozen' : '/run/qga.state.isfrozen';
const ANSIBLE_LIMIT_MS = 300_000;

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** Of an ansible that ended with 2: a host failed. */
const ansibleFailure = v.object({ code: v.literal(2), stdout: v.string() });
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

function ansible(guest: () => Guest): void {
  describe.runIf(longRun)('Ansible by libvirt_qemu', { timeout: ANSIBLE_LIMIT_MS }, () => {
    const run = async (module: string, args = '') => {
      const home = path.join(path.dirname(guest().dataDisk), 'ansible');
      await mkdir(home, { recursive: true });
      const start = performance.now();
      const running = execute(
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
      // a failed module has its report on stdout too
      const { stdout } = await running.catch((error: unknown) => v.parse(ansibleFailure, error));
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
      expect(await run('command', 'false')).toMatch(/^chr \| FAILED.*\brc\W+1\b/);
    });
  });
}
