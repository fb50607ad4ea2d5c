/** Guest operations of the `chr` profile: spec chr-wiki.txt (provisioning) and vmware.md section 7. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  listProcesses,
  listProcessesBody,
  NO_CREDENTIAL,
  passwordCredential,
  relayedCommand,
  runProgramBody,
  runScriptBody,
  startProgram,
  startProgramBody,
  VIX_OPCODE,
  type VixAnswer,
  vixFrame,
  vixRequest,
} from '../../hosts/vmx/vix.ts';
import { PASSWORD } from '../../support/guest-accounts.ts';
import { startTestTools, type TestTools } from '../../support/vmtools-service.ts';

const isRoot = process.getuid?.() === 0;
const LOGIN = { user: 'operator', password: PASSWORD };
const LIMIT = { timeout: 20_000 };

let tools: TestTools;
async function start(guestOperations = {}): Promise<void> {
  tools = await startTestTools({ guestOperations });
  // the scripts are another user's
  chmodSync(tools.directory, 0o755);
}
beforeEach(() => start());
afterEach(() => tools[Symbol.asyncDispose]());

const run = (text: string, programPath = 'inline') =>
  startProgram(tools.vmx, { ...LOGIN, programPath, arguments: text });
const list = (...pids: number[]) => listProcesses(tools.vmx, { ...LOGIN, pids });
const ask = (opcode: number, body?: Buffer, login = LOGIN): Promise<VixAnswer> =>
  vixRequest(tools.vmx, opcode, body, passwordCredential(login));
const startAnswer = (programPath: string, text = '') =>
  ask(VIX_OPCODE.startProgram, startProgramBody({ programPath, arguments: text }));
/** Lists all, which removes nothing, until that job has ended. */
async function ended(pid: number) {
  const find = async () => (await list()).find((job) => job.pid === pid);
  await expect.poll(async () => (await find())?.endSeconds ?? null, LIMIT).not.toBeNull();
  return find();
}
const outputOf = (pid: number) => readFileSync(join(tools.filesDir, `vix_job_${pid}.txt`), 'utf8');

describe.skipIf(!isRoot)('StartProgramInGuest', () => {
  it('runs the text as the user who has logged in, in the files directory', async () => {
    const pid = await run('id -u; id -G; pwd; echo "$HOME $USER $CHR_AGENT_ORIGIN"; exit 3');
    expect(await ended(pid)).toMatchObject({ name: 'inline', owner: 'operator', exitCode: -1 });
    expect(outputOf(pid)).toBe(`64123\n64124 64125 64126\n${tools.filesDir}\n/ operator vix\n`);
  });

  it('has an end only when it has ended', async () => {
    const pid = await run(`while [ ! -e ${tools.filesDir}/go ]; do sleep 0.05; done`, 'console');
    expect(await list(pid)).toMatchObject([{ name: 'console', endSeconds: null, exitCode: null }]);
    expect(await list(pid)).toHaveLength(1);
    writeFileSync(join(tools.filesDir, 'go'), '');
    expect(await ended(pid)).toMatchObject({ exitCode: 0 });
    expect(readdirSync(tools.filesDir)).toEqual(['go']);
  });

  it('is kept until it is listed by its JobID', async () => {
    const [first, second] = [await run('true'), await run('false')];
    expect(second).toBeGreaterThan(first);
    await ended(first);
    await ended(second);
    expect(await list()).toHaveLength(2);
    expect(await list(first, 4_000_000)).toMatchObject([{ pid: first, exitCode: 0 }]);
    expect(await list(first)).toEqual([]);
    expect(await list()).toMatchObject([{ pid: second, exitCode: -1 }]);
  });

  it('runs a file of the files directory', async () => {
    mkdirSync(join(tools.filesDir, 'scripts'));
    writeFileSync(join(tools.filesDir, 'scripts/provision.rsc'), 'echo from a file; exit 1\n');
    const pid = await run('scripts/provision.rsc', 'import');
    expect(await ended(pid)).toMatchObject({ name: 'import', exitCode: -1 });
    expect(outputOf(pid)).toBe('from a file\n');
  });

  it('ignores directory and environment', async () => {
    const pid = await startProgram(tools.vmx, {
      ...LOGIN,
      programPath: 'inline',
      arguments: 'pwd; echo "[$A]"; exit 1',
      workingDirectory: '/nonexistent',
      environment: ['A=1', 'no equals sign'],
    });
    await ended(pid);
    expect(outputOf(pid)).toBe(`${tools.filesDir}\n[]\n`);
  });

  it('leaves no output of a script that ran out of time', async () => {
    await tools[Symbol.asyncDispose]();
    await start({ scriptTimeLimitMs: 300 });
    const pid = await run('echo output; sleep 60');
    expect(await ended(pid)).toMatchObject({ exitCode: -1 });
    expect(readdirSync(tools.filesDir)).toEqual([]);
  });

  it.each(['Inline', 'IMPORT', 'inline ', '/bin/sh', 'console\t'])('%j: 3, nothing runs', async (path) => {
    expect(await startAnswer(path, `touch ${tools.filesDir}/ran`)).toMatchObject({ error: 3, result: '-1' });
    expect(tools.scripts.list()).toEqual([]);
  });

  it('refuses 1 MiB of arguments, and goes on', async () => {
    const text = `touch ${tools.filesDir}/ran\n${'#'.repeat(1 << 20)}`;
    const { sessions } = tools.vmx.tclo;
    expect(await startAnswer('inline', text)).toMatchObject({ error: 3, result: '-1' });
    expect(tools.scripts.list()).toEqual([]);
    expect(await startAnswer('inline', 'true')).toMatchObject({ error: 0 });
    expect(tools.vmx.tclo.sessions).toBe(sessions);
  });

  it.each([
    ['missing.rsc', 4],
    ['', 4],
    ['../state', 13],
    ['.', 20001],
  ])('import %j: %d', async (path, error) => {
    expect(await startAnswer('import', path)).toMatchObject({ error });
  });

  it('goes on counting JobIDs after a restart', async () => {
    const pid = await run('true');
    const ids = join(tools.directory, 'state/vix-jobs');
    const kept = readFileSync(ids, 'utf8');
    await tools[Symbol.asyncDispose]();
    await start();
    writeFileSync(join(tools.directory, 'state/vix-jobs'), kept);
    expect(await run('true')).toBeGreaterThan(pid);
  });

  it('runs as many as are asked for', async () => {
    const pids = await Promise.all(Array.from({ length: 30 }, () => run('exit 0')));
    expect(new Set(pids).size).toBe(30);
    await Promise.all(pids.map(ended));
    expect((await list(...pids)).map(({ exitCode }) => exitCode)).toEqual(pids.map(() => 0));
  });
});

describe.skipIf(!isRoot)('vmrun', () => {
  it.each([
    ['runScriptInGuest', VIX_OPCODE.runScript, runScriptBody('/bin/sh', 'exit 5'), -1],
    ['runScriptInGuest without interpreter', VIX_OPCODE.runScript, runScriptBody('', 'exit 0'), 0],
    ['runProgramInGuest', VIX_OPCODE.runProgram, runProgramBody('inline', 'exit 0'), 0],
  ])('%s reports its end', async (_, opcode, body, exitCode) => {
    const from = tools.vmx.mark();
    const { error, result } = await ask(opcode, body);
    expect(error).toBe(0);
    const { text } = await tools.vmx.waitForRpc(/^Run_Program_Done/, { from });
    expect(text).toBe(`Run_Program_Done req-1 0 0 ${exitCode} ${result}`);
  });
  it.each([
    ['/nonexistent', 4],
    ['/etc/passwd', 3015],
    ['sh -x', 3],
  ])('an interpreter %s: %d', async (interpreter, error) => {
    expect(await ask(VIX_OPCODE.runScript, runScriptBody(interpreter, 'true'))).toMatchObject({ error });
  });
});

describe('who asks', () => {
  const WRONG = { ...LOGIN, password: 'wrong' };
  it('logs in and out', async () => {
    for (const opcode of [VIX_OPCODE.login, VIX_OPCODE.logout, VIX_OPCODE.validateCredentials])
      expect(await ask(opcode)).toEqual({ error: 0, osError: 0, result: '' });
  });
  it.each([
    [VIX_OPCODE.login, 3015],
    [VIX_OPCODE.runProgram, 3015],
    [VIX_OPCODE.validateCredentials, 3050],
    [VIX_OPCODE.startProgram, 3050],
    [VIX_OPCODE.listProcessesEx, 3050],
  ])('with a wrong password: opcode %d gives %d', async (opcode, error) => {
    const body = {
      4: runProgramBody('inline'),
      185: startProgramBody({ programPath: 'inline' }),
      186: listProcessesBody([]),
    };
    const answer = await ask(opcode, body[opcode as keyof typeof body], WRONG);
    expect(answer.error).toBe(error);
    expect(tools.scripts.list()).toEqual([]);
    const refusals = tools.log.lines.filter((line) => line.includes('login of'));
    expect(refusals).toEqual(['warning: vmtools: login of "operator" refused: the password is wrong']);
    expect(tools.log.lines.join()).not.toContain('wrong"');
  });
  it('holds up no report to the host while it waits after a wrong password', async () => {
    await tools[Symbol.asyncDispose]();
    const ticks = new Set<() => void>();
    tools = await startTestTools({
      clock: {
        onTick(listener) {
          ticks.add(listener);
          return () => ticks.delete(listener);
        },
      },
    });
    for (let count = 0; count < 3; count += 1) await ask(VIX_OPCODE.login, undefined, WRONG);
    const from = tools.vmx.mark();
    let isAnswered = false;
    const answer = ask(VIX_OPCODE.login, undefined, WRONG).finally(() => {
      isAnswered = true;
    });
    // the refusal is known, what is left is the wait of 2 s
    await expect
      .poll(() => tools.log.lines.filter((line) => line.includes('login of')), LIMIT)
      .toHaveLength(4);
    for (const tick of ticks) tick();
    await tools.vmx.waitForRpc(/^SetGuestInfo {2}7 /, { from });
    expect(isAnswered).toBe(false);
    expect(await answer).toMatchObject({ error: 3015 });
    expect(await tools.ask('ping')).toBe('OK ');
  });
  it('is never the host itself', async () => {
    const { bytes } = passwordCredential({ user: 'root', password: PASSWORD });
    for (const type of [0, 2, 3, 5, 9, 10, 11])
      expect(await vixRequest(tools.vmx, 192, undefined, { type, bytes })).toMatchObject({ error: 6 });
  });
  it.skipIf(!isRoot)("the documentation's own login works where the configuration allows it", async () => {
    const admin = { user: 'admin', password: '' };
    expect(await ask(192, undefined, admin)).toMatchObject({ error: 3050 });
    await tools[Symbol.asyncDispose]();
    await start({ policy: { users: [], groups: [], emptyPassword: ['admin'] } });
    expect(await ask(192, undefined, admin)).toMatchObject({ error: 0 });
    expect(await ask(192)).toMatchObject({ error: 3050 });
  });
});

describe('commands', () => {
  it.each([18, 19, 70, 85, 88, 89, 94, 177, 178, 179, 181, 183, 187, 188, 190, 191, 193, 194, 195])(
    '%d: 6',
    async (opcode) => {
      expect(await ask(opcode)).toMatchObject({ error: 6 });
    },
  );
  it.each([0, 1, 208, 5000, 0xffffffff])('%d: 3025', async (opcode) => {
    expect(await ask(opcode)).toMatchObject({ error: 3025 });
  });
  it('the state of the tools needs no login', async () => {
    const { error, result } = await vixRequest(tools.vmx, VIX_OPCODE.getToolsState, undefined, NO_CREDENTIAL);
    expect(error).toBe(0);
    expect(Buffer.from(result, 'base64').toString('latin1')).toContain('VMware Tools');
    expect(await tools.ask('Vix_1_Get_ToolsProperties')).toBe(`OK 0 0 ${result}\0`);
  });
  it('announces no file transfer', async () => {
    await tools.vmx.bringUp();
    expect(tools.texts().join()).not.toContain('hgfs');
  });
  it('are switched off by tools.conf', async () => {
    tools.setToolsConf('[guestoperations]\nValidateCredentialsInGuest.disabled=true\n');
    expect(await ask(VIX_OPCODE.validateCredentials)).toMatchObject({ error: 20005 });
    expect(await ask(VIX_OPCODE.login)).toMatchObject({ error: 0 });
    tools.setToolsConf('[guestoperations]\ndisabled=true\n#\n');
    expect(await ask(VIX_OPCODE.login)).toMatchObject({ error: 20005 });
  });
  it('while frozen: 5, and nothing waits', async () => {
    await tools.gate.shut();
    for (const opcode of [185, 186, 62, 5000]) expect(await ask(opcode)).toMatchObject({ error: 5 });
    expect(await tools.ask('ping')).toBe('OK ');
    tools.gate.open();
    expect(await ask(VIX_OPCODE.login)).toMatchObject({ error: 0 });
  });
});

describe('bad input', () => {
  const good = () =>
    vixFrame(185, startProgramBody({ programPath: 'inline', arguments: 'true' }), passwordCredential(LOGIN));
  it('cut anywhere: an error, nothing runs', async () => {
    for (const length of [0, 1, 22, 23, 50, 51, 60, good().length - 1])
      expect((await tools.vmx.command(relayedCommand(good().subarray(0, length)))).text).toBe('10000 0 \0');
    expect(tools.scripts.list()).toEqual([]);
  });
  it.each([6, 10, 14, 18])('a length at %d that lies', async (at) => {
    const bytes = good();
    bytes.writeUInt32LE(0x7fffffff, at);
    expect((await tools.vmx.command(relayedCommand(bytes))).text).toBe('10000 0 \0');
  });
  it('lengths in the body that lie: 10001 without a login', async () => {
    const body = startProgramBody({ programPath: 'inline', arguments: 'true' });
    body.writeUInt32LE(0xffffffff, 5);
    expect(await vixRequest(tools.vmx, 185, body, NO_CREDENTIAL)).toMatchObject({ error: 10001 });
  });
  it('no request at all', async () => {
    expect(await tools.ask('Vix_1_Relayed_Command')).toBe('OK 10000 0 \0');
    expect(await tools.ask('Vix_1_Relayed_Command "x"')).toBe('OK 10000 0 \0');
  });
});
