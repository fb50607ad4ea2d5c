/** Scripts run through guest-exec: spec/chr-wiki "KVM" (the chr profile) and qemu-ga's behaviour where they agree. */
import { describe, expect, it } from 'vitest';
import { SCRIPT_TIME_LIMIT_S } from '../agent-config.ts';
import { agentName } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { note, VirshError } from '../libvirt.ts';
import { runText, scriptEnd, startExec } from '../script.ts';

const isChr = agentName === 'chr-agent';
export function scriptSuite(guest: () => Guest): void {
  describe('scripts', () => {
    it('three lines, the output decoded', async () => {
      const script = [
        'name=$(cat /etc/hostname)',
        'echo "hello from $name"',
        'echo "1 + 2 = $((1 + 2))"',
      ].join('\n');
      const result = await runText(guest(), script);
      note(`decoded output: ${JSON.stringify(result.output)}, exit code ${result.exitcode}`);
      expect(result).toEqual({ exitcode: 0, output: 'hello from chrguest\n1 + 2 = 3\n' });
    });

    it('exit code of a failing one, with its output', async () => {
      const result = await runText(guest(), 'echo before\nexit 7\necho after\n');
      expect(result).toEqual({ exitcode: isChr ? -1 : 7, output: 'before\n' });
    });

    it('without capture-output nothing but the exit code', async () => {
      const data = { 'input-data': Buffer.from('echo unseen').toString('base64') };
      const pid = await startExec(guest(), isChr ? data : { path: '/bin/sh', ...data });
      expect(await scriptEnd(guest(), pid)).toEqual({ exitcode: 0, output: '' });
    });

    it('a record is given once', async () => {
      const pid = await startExec(guest(), { path: '/bin/true' });
      expect(await scriptEnd(guest(), pid)).toEqual({ exitcode: 0, output: '' });
      await expect(guest().agent('guest-exec-status', { pid })).rejects.toThrow(VirshError);
    });

    it('a file that is not there is an error reply', async () => {
      await expect(guest().agent('guest-exec', { path: '/no/such/file' })).rejects.toThrow(
        'No such file or directory',
      );
    });

    it('neither path nor input-data', async () => {
      await expect(guest().agent('guest-exec', {})).rejects.toThrow("Parameter 'path' is missing");
    });
  });

  describe.runIf(isChr)('scripts in the chr profile', () => {
    it('merge both streams in order', async () => {
      const result = await runText(guest(), 'echo one; echo two >&2; echo three');
      expect(result).toEqual({ exitcode: 0, output: 'one\ntwo\nthree\n' });
    });

    it('time-out: exit code 1, the output so far, no process left', async () => {
      const script = 'echo so far\nsetsid sleep 4242 &\nsleep 4242\n';
      const result = await runText(guest(), script, (SCRIPT_TIME_LIMIT_S + 60) * 1000);
      expect(result).toEqual({ exitcode: 1, output: 'so far\n' });
      const left = await guest().console.run("pgrep -fc '[s]leep 4242'");
      expect(left.output.trim()).toBe('0');
    });

    it('an uploaded x.sh runs as path "x.sh"', async () => {
      const handle = await guest().agent('guest-file-open', { path: 'x.sh', mode: 'w' });
      const text = Buffer.from('#!/bin/sh\necho "$0 in $PWD"\n').toString('base64');
      await guest().agent('guest-file-write', { handle, 'buf-b64': text });
      await guest().agent('guest-file-close', { handle });
      const pid = await startExec(guest(), { path: 'x.sh', 'capture-output': true });
      const result = await scriptEnd(guest(), pid);
      expect(result.exitcode).toBe(0);
      expect(result.output).toMatch(/x\.sh in \/var\/lib\/chr-agent\/files\n$/);
    });

    it('path and input-data together: input-data is ignored', async () => {
      const pid = await startExec(guest(), {
        ...{ path: '/etc/e2e/hello', 'capture-output': true },
        'input-data': Buffer.from('echo from input-data').toString('base64'),
      });
      expect(await scriptEnd(guest(), pid)).toEqual({ exitcode: 0, output: 'hello from a file\n' });
    });

    it('args and env are ignored', async () => {
      const pid = await startExec(guest(), {
        ...{ path: '/etc/e2e/hello', arg: ['an argument'], env: ['NAME=from env'], 'capture-output': true },
      });
      expect(await scriptEnd(guest(), pid)).toEqual({ exitcode: 0, output: 'hello from a file\n' });
    });
  });

  describe.runIf(!isChr)('programs in the upstream profile', () => {
    it('arguments, environment, both streams, signals', async () => {
      const pid = await startExec(guest(), {
        ...{
          path: '/bin/sh',
          arg: ['-c', 'echo $0 $NAME', 'zero'],
          env: ['NAME=value'],
          'capture-output': true,
        },
      });
      expect(await scriptEnd(guest(), pid)).toEqual({ exitcode: 0, output: 'zero value\n' });
      expect(await runText(guest(), 'kill -TERM $$')).toEqual({ exitcode: undefined, output: '' });
    });
  });
}
