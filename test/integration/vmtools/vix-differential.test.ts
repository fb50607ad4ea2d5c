/**
 * The same guest operations asked of vmtoolsd (open-vm-tools 12.2) and of the agent in the `upstream` profile. What differs is
 * listed in docs/compatibility.md.
 */
import {
  chmodSync,
  chownSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  type Credential,
  listProcesses,
  NO_CREDENTIAL,
  passwordCredential,
  requiredText,
  runProgramBody,
  runScriptBody,
  startProgramBody,
  terminateProcessBody,
  u32,
  type VixAnswer,
  vixRequest,
} from '../../hosts/vmx/vix.ts';
import { GROUP_ID, PASSWORD, USER_ID } from '../../support/guest-accounts.ts';
import { startTracedAgent } from '../../support/traced-agent.ts';
import { type GuestOptions, openVmToolsMissing, startVmxBench, type VmxBench } from '../../support/vmx.ts';

const missing = openVmToolsMissing() ?? (process.getuid?.() === 0 ? undefined : 'this needs root');
if (missing !== undefined) console.log(`skipped: ${missing}`);

const GUEST: GuestOptions = {
  accounts: true,
  configuration: `[guestinfo]\npoll-interval=0\nstats-interval=0
[guestoperations]\nMoveDirectoryInGuest.disabled=true\n`,
};
const LIMIT = { timeoutMs: 60_000 };
const LOGIN = { user: 'operator', password: PASSWORD };
const OWN = passwordCredential(LOGIN);

/** A body of numbers, bytes and texts whose lengths do not count their NUL. */
const withLengths = (
  texts: readonly string[],
  extra: readonly number[] = [],
  bytes: readonly number[] = [],
) =>
  Buffer.concat([
    u32(0, ...texts.map((text) => text.length), ...extra),
    Buffer.from(bytes),
    ...texts.map(requiredText),
  ]);
const path = (text: string) => withLengths([text]);
const listFiles = (text: string, pattern = '', index = 0, max = 100) =>
  Buffer.concat([
    u32(0, text.length, pattern.length, index, max),
    Buffer.alloc(8),
    requiredText(text),
    pattern === '' ? Buffer.alloc(0) : requiredText(pattern),
  ]);
const names = (...variables: string[]) => {
  const texts = Buffer.concat(variables.map(requiredText));
  return Buffer.concat([u32(variables.length, texts.length), texts]);
};
function attributes(
  text: string,
  options: number,
  seconds: number,
  owner: number,
  group: number,
  mode: number,
): Buffer {
  const numbers = Buffer.alloc(16);
  numbers.writeBigInt64LE(BigInt(seconds), 0);
  numbers.writeBigInt64LE(BigInt(seconds + 1), 8);
  return Buffer.concat([
    u32(options),
    numbers,
    u32(owner, group, mode),
    Buffer.alloc(2),
    u32(text.length),
    requiredText(text),
  ]);
}

/** What was asked and answered, without what is never the same twice. */
async function drive(start: (bench: VmxBench) => void): Promise<string[]> {
  await using bench = await startVmxBench();
  start(bench);
  const { vmx } = bench;
  await vmx.waitForRpc(/^info-set guestinfo\.vmtools\.buildNumber/, LIMIT);
  await vmx.command('reset', LIMIT);
  const place = mkdtempSync(join(tmpdir(), 'vix-'));
  chmodSync(place, 0o777);
  const lines: string[] = [];
  const ask = async (
    label: string,
    opcode: number,
    body?: Buffer,
    credential: Credential = OWN,
  ): Promise<VixAnswer> => {
    const answer = await vixRequest(vmx, opcode, body, credential, LIMIT);
    const shown = /^[1-9]\d*$/.test(answer.result) && opcode !== 19 && opcode !== 70 ? 'PID' : answer.result;
    const anonymous = shown
      .replaceAll(place, 'PLACE')
      .replaceAll(/vmware\d+/g, 'vmwareN')
      .replaceAll(/(mt|at|ModTime)>\d{9,}</g, '$1>NOW<')
      .replaceAll(/vmware-operator_[\d-]+/g, 'vmware-operator_N');
    lines.push(`${label}: ${answer.error} ${anonymous}`);
    return answer;
  };
  const owned = (name: string) => {
    writeFileSync(join(place, name), 'hello');
    chownSync(join(place, name), USER_ID, GROUP_ID);
    utimesSync(join(place, name), 1000, 2000);
    return join(place, name);
  };
  const program = (programPath: string, args = '', workingDirectory = '', environment: string[] = []) =>
    startProgramBody({ programPath, arguments: args, workingDirectory, environment });

  try {
    for (const opcode of [78, 87, 190, 191, 192, 208, 5000]) await ask(`opcode ${opcode}`, opcode);
    for (const type of [0, 2, 3, 5, 10]) await ask(`type ${type}`, 192, undefined, { ...OWN, type });
    await ask('logout of nobody', 87, undefined, NO_CREDENTIAL);
    for (const user of ['locked', 'expired', 'shellless', 'nobody-here', 'stale', 'change', 'old'])
      await ask(`login of ${user}`, 192, undefined, passwordCredential({ user, password: PASSWORD }));
    const wrong = passwordCredential({ ...LOGIN, password: 'wrong' });
    await ask('wrong password, old', 78, undefined, wrong);
    await ask('wrong password, new', 185, program('/bin/true'), wrong);
    await ask('disabled', 180);

    await ask('empty path', 185, program(''), NO_CREDENTIAL);
    await ask('variable without =', 185, program('/bin/true', '', '', ['X']), NO_CREDENTIAL);
    await ask('missing program', 185, program('/nonexistent'));
    await ask('no program', 185, program('/etc/passwd'));
    await ask('missing directory', 185, program('/bin/true', '', '/nonexistent'));
    await ask('quoted path', 185, program(' "/bin/true"'));
    const first = await ask('start', 185, program('/bin/sh', `-c 'id; pwd' > ${place}/out 2>&1; exit 7`));
    const second = await ask(
      'start with environment',
      185,
      program('/usr/bin/env', `> ${place}/env`, place, ['A=1', 'B=x y']),
    );
    const sleeper = await ask('start a sleeper', 185, program('/bin/sleep', '100'));
    const pids = [Number(first.result), Number(second.result)];
    const find = () => listProcesses(vmx, { ...LOGIN, pids });
    await expect
      .poll(async () => (await find()).map(({ endSeconds }) => endSeconds), { timeout: 20_000 })
      .not.toContain(null);
    for (const { command, name, owner, exitCode } of await find())
      lines.push(`${command} ${name.replaceAll(place, 'PLACE')} ${owner} ${exitCode}`);
    await ask('list a file', 177, listFiles(join(place, 'out'), '', 0, 0));
    await ask('kill', 193, terminateProcessBody(Number(sleeper.result)));
    await ask('kill again', 193, terminateProcessBody(Number(sleeper.result)));
    await ask("kill root's", 193, terminateProcessBody(1));
    await ask('kill nobody', 193, terminateProcessBody(3_999_999));
    await ask('a variable', 187, names('HOME', 'NO_SUCH'));
    await ask('a variable of old', 88, Buffer.concat([u32(3, 0, 5), requiredText('SHELL')]));

    await ask('make', 178, withLengths([`${place}/a`], [0], [0]));
    await ask('make again', 178, withLengths([`${place}/a`], [0], [0]));
    await ask('make deep', 178, withLengths([`${place}/a/b/c`], [0], [0]));
    await ask('make deep with parents', 178, withLengths([`${place}/a/b/c`], [0], [1]));
    await ask('make where root is', 178, withLengths(['/made'], [0], [0]));
    const file = owned('a/file "one".txt');
    symlinkSync('file "one".txt', join(place, 'a/link'));
    for (const wanted of [file, `${place}/a`, `${place}/none`]) {
      await ask('is it a file', 19, path(wanted));
      await ask('is it a directory', 70, path(wanted));
      await ask('what is it', 94, path(wanted));
    }
    await ask('of no name', 19, path(''));
    await ask('list by pattern', 177, listFiles(`${place}/a`, '.*txt'));
    await ask('list a link', 177, listFiles(`${place}/a/link`));
    await ask('list none', 177, listFiles(`${place}/none`));
    await ask('list by a bad pattern', 177, listFiles(`${place}/a`, '('));
    await ask('list from far on', 177, listFiles(`${place}/a`, '', 100, 2));
    await ask("list root's", 177, listFiles('/root'));
    await ask('temporary file', 181, withLengths(['pre', '.suf', place], [0]));
    await ask('temporary directory', 182, withLengths(['p', '', place], [0]));
    await ask('temporary file somewhere', 181, withLengths(['p', '', ''], [0]));
    await ask('temporary file nowhere', 181, withLengths(['', '', `${place}/none`], [0]));
    const [to, there] = [join(place, 'to'), owned('there')];
    await ask('move', 179, withLengths([file, to], [0], [0]));
    await ask('move none', 179, withLengths([file, to], [0], [0]));
    await ask('move to what is there', 179, withLengths([to, there], [0], [0]));
    await ask('move over it', 179, withLengths([to, there], [0], [1]));
    await ask('move a directory as a file', 179, withLengths([`${place}/a`, to], [0], [0]));
    await ask('move to a directory', 179, withLengths([there, `${place}/a`], [0], [1]));
    for (const options of [1, 2, 4, 0x10, 0x20, 0x40]) {
      const changed = owned('changed');
      chmodSync(changed, 0o644);
      await ask(`attribute ${options}`, 183, attributes(changed, options, 3000, USER_ID, 64_125, 0o600));
      const { atimeMs, mtimeMs, gid, mode } = statSync(changed);
      lines.push(`  ${atimeMs} ${mtimeMs} ${gid} ${mode.toString(8)}`);
    }
    await ask("attributes of root's", 183, attributes('/etc/passwd', 0x40, 0, 0, 0, 0o777));
    await ask('delete none', 194, path(`${place}/none`));
    await ask('delete a directory as a file', 194, path(`${place}/a`));
    await ask('delete', 194, path(there));
    await ask('delete, old', 18, path(join(place, 'changed')));
    await ask("delete root's", 194, path('/etc/passwd'));
    await ask('delete a directory with something in it', 195, withLengths([`${place}/a`], [0], [0]));
    await ask('delete no directory', 195, withLengths([`${place}/none`], [0], [0]));
    await ask('delete a file as a directory', 195, withLengths([join(place, 'out')], [0], [1]));
    await ask('delete a directory and all in it', 195, withLengths([`${place}/a`], [0], [1]));

    const runs = [
      ['script', 46, runScriptBody('/bin/sh', 'exit 5')],
      ['program', 4, runProgramBody('/bin/sh', '-c "exit 4"')],
      ['killed program', 4, runProgramBody('/bin/sh', '-c "kill -9 $$"')],
    ] as const;
    for (const [label, opcode, body] of runs) {
      const from = vmx.mark();
      const { result } = await ask(label, opcode, body);
      const { text } = await vmx.waitForRpc(/^Run_Program_Done/, { from, ...LIMIT });
      lines.push(text.replace(result, 'PID').replace(/ 0 \d+ /, ' 0 - '));
    }
    await ask('missing interpreter', 46, runScriptBody('/nonexistent', 'true'));
    await ask('no interpreter', 46, runScriptBody('/etc/passwd', 'true'));
    await ask('run nothing', 4, runProgramBody(''));
    await ask('wrong password, run', 4, runProgramBody('/bin/true'), wrong);
    return lines;
  } finally {
    rmSync(place, { recursive: true });
  }
}

describe.skipIf(missing !== undefined)('beside vmtoolsd', { timeout: 180_000 }, () => {
  it('guest operations are answered alike', async () => {
    const [reference, own] = await Promise.all([
      drive((bench) => bench.startToolsDaemon(GUEST)),
      drive((bench) => startTracedAgent(bench, GUEST, 'compat = "upstream"\nguest-operations-users = ["*"]')),
    ]);
    expect(own).toEqual(reference);
  });
});
