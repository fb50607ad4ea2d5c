import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { lstat, readlink, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ActionRefused,
  type Actions,
  type ActionsOptions,
  createActions,
} from '../../../src/guest/actions.ts';
import type { ProgramRequest } from '../../../src/guest/program.ts';
import type { NativeAddon } from '../../../src/native/addon.ts';
import { native } from '../../../src/native/index.ts';

let root: string;
let done: unknown[];
let warnings: string[];
let directoryFd: number;
const REQUEST = Buffer.from('a request');

/** The real addon, but every call that would do something is only recorded. */
const recorder = (): NativeAddon => ({
  ...native,
  setRealTimeClock: (nanoseconds) => {
    done.push(['setRealTimeClock', nanoseconds]);
    return 0;
  },
  adjustClock: (modes, offset, tick) => {
    done.push(['adjustClock', modes, offset, tick]);
    return [tick === 8_000 ? -22 : 5, tick, 0x40];
  },
  freeze: async (fd) => {
    done.push(['freeze', fd]);
    return 0;
  },
  thaw: async (fd) => {
    done.push(['thaw', fd]);
    return 0;
  },
  trim: async (fd, minimumBytes) => {
    done.push(['trim', fd, minimumBytes]);
    return { trimmedBytes: 4096n, minimumBytes };
  },
  netlinkOpen: (namespaceFd) => {
    done.push(['netlinkOpen', namespaceFd]);
    return 4711;
  },
  netlinkRequest: (fd, request) => {
    done.push(['netlinkRequest', fd, request]);
    return Buffer.from('yes');
  },
  close: (fd) => {
    done.push(['close', fd]);
    return 0;
  },
});

function actions(overrides: Partial<ActionsOptions>): Actions {
  const silent = () => {};
  return createActions({
    native: recorder(),
    log: { error: silent, info: silent, debug: silent, warning: (text) => warnings.push(text) },
    noActions: true,
    testRoot: null,
    root,
    runProgram: async (request: ProgramRequest) => {
      done.push({ ...request, ...(request.input && { input: Buffer.from(request.input).toString() }) });
      return { kind: 'exited', program: request.candidates[0] ?? '', code: 0, output: Buffer.alloc(0) };
    },
    ...overrides,
  });
}

const sysfs = (path: string, content: string) => {
  mkdirSync(join(root, path, '..'), { recursive: true });
  writeFileSync(join(root, path), content);
};

/** /proc of a process in its own namespace, or in that of process 1. */
function fakeNamespaces(self: string | null, initial: string | null): void {
  for (const [pid, target] of [
    ['self', self],
    ['1', initial],
  ] as const) {
    mkdirSync(join(root, 'proc', pid, 'ns'), { recursive: true });
    if (target !== null) symlinkSync(target, join(root, 'proc', pid, 'ns/net'));
  }
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'chr-agent-actions-'));
  directoryFd = openSync(root, 'r');
  done = [];
  warnings = [];
});

afterEach(() => {
  closeSync(directoryFd);
  rmSync(root, { recursive: true });
});

describe('with CHR_AGENT_NO_ACTIONS=1', () => {
  it.each<[string, (actions: Actions) => unknown]>([
    ['power off', (it) => it.power('powerdown')],
    ['halt', (it) => it.power('halt')],
    ['reboot', (it) => it.power('reboot')],
    ['set the clock', (it) => it.setRealTimeClock(1n)],
    ['slew the clock', (it) => it.setClockTick(9_990)],
    ['write the hardware clock', (it) => it.syncHardwareClock('to-rtc')],
    ['set the clock from the hardware clock', (it) => it.syncHardwareClock('from-rtc')],
    ['freeze what is no loop device', (it) => it.mayFreeze('freeze', { mountPoint: '/', major: 254 })],
    ['thaw what is no loop device', (it) => it.mayFreeze('thaw', { mountPoint: '/', major: 0 })],
    ['take a CPU offline', (it) => it.setCpuOnline(1, false)],
    ['take memory offline', (it) => it.setMemoryBlockOnline(1, false)],
    ['change a password', (it) => it.setPassword('root', Buffer.from('x'), false)],
    ['change ssh keys', (it) => it.writeAuthorizedKeys(join(root, 'home'), { uid: 0, gid: 0 }, 'key')],
    ['change a qdisc where nothing is known of the namespace', (it) => it.changeQdisc(null, REQUEST)],
  ])('refuses to %s: one warning, nothing done', async (_name, act) => {
    sysfs('sys/devices/system/cpu/cpu1/online', '1');
    sysfs('sys/devices/system/memory/memory1/state', 'online');
    mkdirSync(join(root, 'home'));
    await expect((async () => act(actions({})))()).rejects.toThrow(ActionRefused);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^refused: this run may not .+ \(CHR_AGENT_NO_ACTIONS=1\)$/);
    expect(done).toEqual([]);
    expect(readFileSync(join(root, 'sys/devices/system/cpu/cpu1/online'), 'utf8')).toBe('1');
    expect(readFileSync(join(root, 'sys/devices/system/memory/memory1/state'), 'utf8')).toBe('online');
    await expect(stat(join(root, 'home/.ssh'))).rejects.toThrow('ENOENT');
  });

  it('keeps the password out of the log', async () => {
    await expect(actions({}).setPassword('root', Buffer.from('secret'), false)).rejects.toThrow();
    expect(warnings.join()).not.toContain('secret');
  });

  it.each([
    ['net:[1]', 'net:[1]'],
    ['net:[2]', null],
    [null, 'net:[1]'],
  ])('refuses a qdisc in namespace %s when process 1 has %s', (self, initial) => {
    fakeNamespaces(self, initial);
    expect(() => actions({}).changeQdisc(null, REQUEST)).toThrow(ActionRefused);
    expect(done).toEqual([]);
  });

  it('refuses a qdisc here: the tests run in the initial namespace', () => {
    const here = actions({ root: '/' });
    expect(() => here.changeQdisc(null, REQUEST)).toThrow(ActionRefused);
    const own = openSync('/proc/self/ns/net', 'r');
    expect(() => here.changeQdisc(own, REQUEST)).toThrow(ActionRefused);
    closeSync(own);
    expect(done).toEqual([]);
  });

  it('changes a qdisc in a namespace of its own', () => {
    fakeNamespaces('net:[2]', 'net:[1]');
    expect(actions({}).changeQdisc(null, REQUEST)).toEqual(Buffer.from('yes'));
    expect(done).toEqual([
      ['netlinkOpen', -1],
      ['netlinkRequest', 4711, REQUEST],
      ['close', 4711],
    ]);
  });

  it('tells namespaces apart by /proc/PID/net/dev where ns/net of process 1 is forbidden', () => {
    fakeNamespaces('net:[2]', null);
    for (const pid of ['self', '1']) {
      mkdirSync(join(root, 'proc', pid, 'net'));
      writeFileSync(join(root, 'proc', pid, 'net/dev'), '');
    }
    actions({}).changeQdisc(null, REQUEST);
    expect(done).toHaveLength(3);
  });

  it('trims', async () => {
    await expect(actions({}).trim({ mountPoint: root, fd: directoryFd }, 512n)).resolves.toMatchObject({
      trimmedBytes: 4096n,
    });
    expect(done).toEqual([['trim', directoryFd, 512n]]);
  });

  it('takes CPUs and memory online', async () => {
    sysfs('sys/devices/system/cpu/cpu1/online', '0');
    sysfs('sys/devices/system/memory/memory1/state', 'offline');
    await expect(actions({}).setCpuOnline(1, true)).resolves.toBe(0);
    await expect(actions({}).setMemoryBlockOnline(1, true)).resolves.toBe(0);
    expect(readFileSync(join(root, 'sys/devices/system/cpu/cpu1/online'), 'utf8')).toBe('1');
  });
});

describe('when allowed', () => {
  const allowed = () => actions({ noActions: false });

  it('powers down by the program of the mode, or by shutdown', async () => {
    for (const mode of ['powerdown', 'halt', 'reboot'] as const) await allowed().power(mode);
    const either = (program: string, option: string) =>
      expect.toBeOneOf([
        { candidates: [program], args: [] },
        { candidates: ['/sbin/shutdown'], args: ['-h', option, '+0', 'hypervisor initiated shutdown'] },
      ]);
    expect(done).toEqual([
      either('/sbin/poweroff', '-P'),
      either('/sbin/halt', '-H'),
      either('/sbin/reboot', '-r'),
    ]);
  });

  it('sets clocks', async () => {
    expect(allowed().setRealTimeClock(5n)).toBe(0);
    await allowed().syncHardwareClock('to-rtc');
    await allowed().syncHardwareClock('from-rtc');
    expect(done).toEqual([
      ['setRealTimeClock', 5n],
      { candidates: ['/sbin/hwclock'], args: ['-w'] },
      { candidates: ['/sbin/hwclock'], args: ['-s'] },
    ]);
  });

  it('slews the clock: what adjtime(3) has begun ends, then the tick is set', () => {
    expect(allowed().setClockTick(9_950)).toBe(0);
    expect(allowed().setClockTick(8_000)).toBe(-22);
    expect(done).toEqual([
      ['adjustClock', 0x8001, 0, 0],
      ['adjustClock', 0x4000, 0, 9_950],
      ['adjustClock', 0x8001, 0, 0],
      ['adjustClock', 0x4000, 0, 8_000],
    ]);
  });

  it('feeds chpasswd', async () => {
    await allowed().setPassword('joe', Buffer.from('p:w'), false);
    await allowed().setPassword('joe', Buffer.from('$6$'), true);
    expect(done).toMatchObject([
      { args: [], input: 'joe:p:w\n' },
      { args: ['-e'], input: 'joe:$6$\n' },
    ]);
  });

  it('freezes, takes offline', async () => {
    sysfs('sys/devices/system/cpu/cpu1/online', '1');
    expect(() => allowed().mayFreeze('freeze', { mountPoint: '/', major: 254 })).not.toThrow();
    await expect(allowed().setCpuOnline(1, false)).resolves.toBe(0);
    expect(readFileSync(join(root, 'sys/devices/system/cpu/cpu1/online'), 'utf8')).toBe('0');
    await expect(allowed().setCpuOnline(2, false)).resolves.toBe(-2);
  });
});

describe('authorized keys', () => {
  const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const write = (home: string, content: string) =>
    actions({ testRoot: root }).writeAuthorizedKeys(home, owner, content);
  const mode = async (path: string) => ((await lstat(path)).mode & 0o7777).toString(8);

  it('makes .ssh and the file for their owner only', async () => {
    const home = join(root, 'home');
    mkdirSync(home);
    await expect(write(home, 'one\n')).resolves.toBe(0);
    await expect(write(home, 'two\n')).resolves.toBe(0);
    expect(readFileSync(join(home, '.ssh/authorized_keys'), 'utf8')).toBe('two\n');
    expect(await mode(join(home, '.ssh'))).toBe('700');
    expect(await mode(join(home, '.ssh/authorized_keys'))).toBe('600');
  });

  it.runIf(process.getuid?.() === 0)('gives it to the user, and takes no .ssh of another', async () => {
    const home = join(root, 'home');
    mkdirSync(home);
    const it = actions({ testRoot: root });
    await expect(it.writeAuthorizedKeys(home, { uid: 4242, gid: 4343 }, 'k')).resolves.toBe(0);
    expect(await lstat(join(home, '.ssh'))).toMatchObject({ uid: 4242, gid: 4343 });
    expect(await lstat(join(home, '.ssh/authorized_keys'))).toMatchObject({ uid: 4242, gid: 4343 });
    await expect(it.writeAuthorizedKeys(home, { uid: 4244, gid: 4343 }, 'k')).resolves.toBe(-1);
  });

  it('follows no link that the user has set', async () => {
    const [home, target] = [join(root, 'home'), join(root, 'target')];
    mkdirSync(home);
    mkdirSync(target);
    symlinkSync(target, join(home, '.ssh'));
    expect(await write(home, 'x')).toBeLessThan(0);
    await expect(stat(join(target, 'authorized_keys'))).rejects.toThrow('ENOENT');

    rmSync(join(home, '.ssh'));
    mkdirSync(join(home, '.ssh'), { mode: 0o700 });
    writeFileSync(join(root, 'shadow'), 'precious');
    symlinkSync(join(root, 'shadow'), join(home, '.ssh/authorized_keys'));
    await expect(write(home, 'x')).resolves.toBe(0);
    expect(readFileSync(join(root, 'shadow'), 'utf8')).toBe('precious');
    await expect(readlink(join(home, '.ssh/authorized_keys'))).rejects.toThrow('EINVAL');
  });

  it('refuses a home that a link leads out of the test root, and the test root itself', async () => {
    mkdirSync(join(root, 'inside'));
    symlinkSync('/', join(root, 'inside/out'));
    const it = actions({ testRoot: join(root, 'inside') });
    const attempts = [
      join(root, 'inside/out'),
      join(root, 'inside/../'),
      join(root, 'inside'),
      join(root, 'none'),
    ];
    for (const home of attempts) {
      await expect(it.writeAuthorizedKeys(home, owner, 'x')).rejects.toThrow(ActionRefused);
    }
    expect(warnings).toHaveLength(attempts.length);
  });

  it('no home: an errno', async () => {
    await expect(
      actions({ noActions: false }).writeAuthorizedKeys(join(root, 'none'), owner, 'x'),
    ).resolves.toBe(-2);
  });
});
