/**
 * What only reads, against Debian's qemu-ga 7.2 on the same machine: processors, memory blocks, users and ssh keys. For the last two
 * the reference lives in a mount namespace of its own, with a passwd and a utmp that we made. (7.2 has no routes and no load.)
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGuest } from '../../../src/guest/guest.ts';
import { native } from '../../../src/native/index.ts';
import { type FakeRoot, makeFakeRoot } from '../../support/fake-root.ts';
import { LineClient } from '../../support/line-client.ts';
import { type OurAgent, startOurAgent } from '../../support/qga-service.ts';
import { recordingLog } from '../../support/quiet-log.ts';
import {
  type ReferenceAgent,
  referenceCommand,
  referenceMissing,
  startReferenceAgent,
} from '../../support/reference-agent.ts';
import { utmpFile } from '../../support/utmp.ts';

describe.skipIf(referenceMissing() !== undefined)('this machine', () => {
  let reference: ReferenceAgent;
  let agent: OurAgent;
  let theirs: LineClient;
  let ours: LineClient;
  beforeAll(async () => {
    reference = await startReferenceAgent();
    agent = await startOurAgent();
    theirs = new LineClient(reference.socketPath);
    ours = new LineClient(agent.socketPath);
  });
  afterAll(async () => {
    await ours.close();
    await theirs.close();
    await agent.stop();
    await reference.stop();
  });

  it.each(['guest-get-vcpus', 'guest-get-memory-blocks', 'guest-get-memory-block-info', 'guest-get-users'])(
    '%s is the same, in the same order',
    async (name) => {
      expect(await ours.command(name)).toEqual(await theirs.command(name));
    },
  );

  it('guest-get-cpustats has the same members, and counts on', async () => {
    type Stats = Record<string, number | string>[];
    const before = (await theirs.result('guest-get-cpustats')) as Stats;
    const found = (await ours.result('guest-get-cpustats')) as Stats;
    const after = (await theirs.result('guest-get-cpustats')) as Stats;
    const shape = (stats: Stats) => stats.map((cpu) => [cpu.type, cpu.cpu, Object.keys(cpu).sort()]);
    expect(shape(found)).toEqual(shape(before));
    // (idle and iowait may go back a little)
    for (const member of ['user', 'nice', 'system', 'irq', 'softirq', 'steal', 'guest', 'guestnice']) {
      for (const [index, cpu] of found.entries()) {
        expect(cpu[member], member).toBeGreaterThanOrEqual(Number(before[index]?.[member]));
        expect(cpu[member], member).toBeLessThanOrEqual(Number(after[index]?.[member]));
      }
    }
  });

  it('an unknown CPU and an empty list change nothing, with the same replies', async () => {
    for (const vcpus of [[], [{ 'logical-id': 4096, online: true }], [{ 'logical-id': -1, online: true }]]) {
      expect(await ours.command('guest-set-vcpus', { vcpus })).toEqual(
        await theirs.command('guest-set-vcpus', { vcpus }),
      );
    }
    for (const index of [1_000_000_000, -1]) {
      const args = { 'mem-blks': [{ 'phys-index': index, online: true }] };
      expect(await ours.command('guest-set-memory-blocks', args)).toEqual(
        await theirs.command('guest-set-memory-blocks', args),
      );
    }
  });
});

const canMount = process.getuid?.() === 0 && existsSync('/usr/bin/unshare');

describe.skipIf(referenceMissing() !== undefined || !canMount)('a machine with users of ours', () => {
  let root: FakeRoot;
  let agent: OurAgent;
  let theirs: LineClient;
  let ours: LineClient;
  let stopReference: () => Promise<void>;

  beforeAll(async () => {
    root = makeFakeRoot();
    const users = ['joe', 'none', 'dir'];
    const passwd = (homes: string) =>
      `${users.map((user) => `${user}:x:0:0::${homes}/${user}:/bin/sh\n`).join('')}+nis:x:0:0::/:\n`;
    root.add({
      'etc/passwd': passwd('/home'),
      'reference/passwd': passwd(join(root.path, 'home')),
      'home/joe/.ssh/authorized_keys':
        '# comment\n\nssh-rsa A one\n  ssh-rsa B caf\u00e9 \r\n\t#x\nssh-rsa C\nssh-rsa A one\nlast',
      'home/none/': '',
      'home/dir/.ssh/authorized_keys/': '',
      'var/run/utmp': utmpFile([
        { type: 2, user: 'reboot', seconds: 1_600_000_000, microseconds: 0 },
        { type: 7, user: 'joe', seconds: 1_700_000_000, microseconds: 123_457 },
        { type: 7, user: 'none', seconds: 1_650_000_001, microseconds: 1 },
        { type: 7, user: 'joe', seconds: 1_650_000_000, microseconds: 999_999 },
        { type: 8, user: 'dir', seconds: 1_650_000_000, microseconds: 0 },
      ]),
    });
    const { argv, socketPath } = referenceCommand(join(root.path, 'reference'));
    const script =
      'mount --bind "$1/reference/passwd" /etc/passwd && mkdir "$1/run" && cp "$1/var/run/utmp" "$1/run" && ' +
      'mount --bind "$1/run" /run && shift && exec "$@"';
    const child = spawn('/usr/bin/unshare', ['-m', '/bin/sh', '-c', script, 'sh', root.path, ...argv], {
      stdio: 'ignore',
    });
    const ended = once(child, 'exit');
    stopReference = async () => {
      child.kill('SIGKILL');
      await ended;
    };
    for (let tries = 0; !existsSync(socketPath); tries += 1) {
      if (tries > 200) throw new Error('the reference agent did not start');
      await delay(20);
    }
    const guest = createGuest({
      native,
      log: recordingLog(),
      noActions: true,
      testRoot: null,
      osReleaseFile: null,
      tzVariable: undefined,
      root: root.path,
    });
    agent = await startOurAgent({ guest });
    theirs = new LineClient(socketPath);
    ours = new LineClient(agent.socketPath);
  });
  afterAll(async () => {
    await ours.close();
    await theirs.close();
    await agent.stop();
    await stopReference();
    root[Symbol.dispose]();
  });

  const both = async (name: string, args?: object) => [
    await ours.command(name, args),
    await theirs.command(name, args),
  ];

  it('guest-get-users', async () => {
    const [mine, reference] = await both('guest-get-users');
    // the order of the reference is that of utmp as well
    expect(mine).toEqual(reference);
    expect(mine?.return).toHaveLength(2);
  });

  it.each(['joe', 'none'])('the keys of %s', async (username) => {
    const [mine, reference] = await both('guest-ssh-get-authorized-keys', { username });
    expect(mine).toEqual(reference);
  });

  it.each(['dir', 'nobody-here', '../joe', '+nis', ''])(
    'of %j: the same error but for its reason',
    async (username) => {
      const [mine, reference] = await both('guest-ssh-get-authorized-keys', { username });
      expect(mine?.error?.class).toBe(reference?.error?.class);
      const start = (text: string | undefined) => text?.split("': ", 1)[0];
      expect(start(mine?.error?.desc)).toBe(start(reference?.error?.desc));
    },
  );

  it('bad keys are refused by both', async () => {
    mkdirSync(join(root.path, 'home/none/.ssh'));
    for (const key of ['# ssh-rsa A', 'a\nb', '\n']) {
      for (const name of ['guest-ssh-add-authorized-keys', 'guest-ssh-remove-authorized-keys']) {
        const [mine, reference] = await both(name, { username: 'none', keys: ['ssh-rsa A', key] });
        expect(mine).toEqual(reference);
      }
    }
    expect(existsSync(join(root.path, 'home/none/.ssh/authorized_keys'))).toBe(false);
  });
});
