/**
 * Power operations: before the guest goes down or to sleep, and after it has come up, a script of the administrator runs, and the host
 * hears how it ended (spec vmware.md section 9; spec chr-wiki.txt, power operations).
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Actions, PowerMode } from '../../guest/actions.ts';
import type { FreezeGate } from '../../guest/freeze-gate.ts';
import type { ProgramResult } from '../../guest/program.ts';
import type { Log } from '../../log.ts';
import type { VmtoolsPart } from './part.ts';
import { accepted, refused, type TcloReply } from './rpc.ts';
import type { Tell } from './tell.ts';

/** What the operations are to the guest: both OS_Halt and OS_Reboot switch it off. */
export type PowerEvent = 'poweron' | 'resume' | 'poweroff' | 'suspend';

export interface ScriptEnd {
  readonly isSuccess: boolean;
  /** `exit code: 3`, `canceled by signal: 9`, `timed out after 30 s` … */
  readonly how: string;
}

export interface PowerScripts {
  /** null: none is to run. While file systems are frozen it waits for the thaw. Never rejects. */
  find(event: PowerEvent): Promise<PowerScript | null>;
}

export interface PowerScript {
  /** Resolves when it runs. Never rejects. */
  start(): Promise<ScriptStart>;
}

/** `problem`: it does not run. */
export type ScriptStart = { readonly problem: string } | { readonly ended: Promise<ScriptEnd> };

export interface PowerOptions {
  readonly scripts: PowerScripts;
  readonly tell: Tell;
  readonly actions: Pick<Actions, 'power'>;
  readonly gate: Pick<FreezeGate, 'frozen'>;
  readonly log: Log;
  /** How long the host waits for an answer. */
  readonly replyLimitMs?: number;
}

interface Operation {
  readonly name: string;
  /** As the host numbers them. */
  readonly state: number;
  readonly event: PowerEvent;
  /** What the guest does itself; the rest is the host's. */
  readonly act: { readonly mode: PowerMode; readonly word: string } | null;
}

const OPERATIONS: readonly Operation[] = [
  { name: 'OS_Halt', state: 1, event: 'poweroff', act: { mode: 'powerdown', word: 'halt' } },
  { name: 'OS_Reboot', state: 2, event: 'poweroff', act: { mode: 'reboot', word: 'reboot' } },
  { name: 'OS_PowerOn', state: 3, event: 'poweron', act: null },
  { name: 'OS_Resume', state: 4, event: 'resume', act: null },
  { name: 'OS_Suspend', state: 5, event: 'suspend', act: null },
];
const OPTIONS = new Map<string, PowerEvent>([
  ['toolScripts.afterPowerOn', 'poweron'],
  ['toolScripts.afterResume', 'resume'],
  ['toolScripts.beforePowerOff', 'poweroff'],
  ['toolScripts.beforeSuspend', 'suspend'],
]);
/** Of the seconds that a host waits before it takes the tools for dead. */
const REPLY_LIMIT_MS = 3_000;

const BUSY = 'State change already in progress';
const NOT_STARTED = 'Error starting script';

export function createPower(options: PowerOptions): VmtoolsPart {
  const { scripts, tell, actions, gate, log, replyLimitMs = REPLY_LIMIT_MS } = options;
  /** What the host does not want to run. */
  const forbidden = new Set<PowerEvent>();
  /** The operation whose failure the very next one of its kind makes good. */
  let lastFailed: Operation | null = null;
  /** The operation under way. */
  let current: Promise<unknown> | null = null;

  return {
    commands: Object.fromEntries(
      OPERATIONS.map((operation) => [operation.name, () => begin(operation)] as const),
    ),
    setOption(name, value) {
      const event = OPTIONS.get(name);
      if (event === undefined || (value !== '0' && value !== '1')) return false;
      if (value === '1') forbidden.delete(event);
      else forbidden.add(event);
      return true;
    },
    async stop() {
      await current;
    },
  };

  /** Answers when the script runs, or when there is none and the host knows the outcome. */
  async function begin(operation: Operation): Promise<TcloReply> {
    if (current !== null) return refused(BUSY);
    const answer = Promise.withResolvers<TcloReply>();
    current = perform(operation, answer.resolve)
      .catch((error: unknown) => {
        log.error(`${operation.name}: ${error instanceof Error ? error.stack : String(error)}`);
        answer.resolve(refused('Internal error'));
      })
      .finally(() => {
        current = null;
      });
    const timer = new AbortController();
    const patience = delay(replyLimitMs, accepted(), { signal: timer.signal }).catch(() => accepted());
    return Promise.race([answer.promise, patience]).finally(() => timer.abort());
  }

  async function perform(operation: Operation, answer: (reply: TcloReply) => void): Promise<void> {
    const { name, event } = operation;
    if (gate.frozen) {
      // no script can run, and a shutdown would hang; what may be undone by a thaw must not be overridden by a second try
      log.warning(`${name}: refused, since file systems are frozen`);
      await tellStatus(operation, false);
      return answer(refused(NOT_STARTED));
    }
    const script = forbidden.has(event) ? null : await scripts.find(event);
    if (script === null) {
      await settle(operation, true);
      answer(accepted());
      return act(operation);
    }
    await say(`Executing script for state change '${name}'.`);
    const started = await script.start();
    if ('problem' in started) {
      log.warning(`${name}: the script cannot be started: ${started.problem}`);
      const goesOn = await settle(operation, false);
      answer(goesOn ? accepted() : refused(NOT_STARTED));
      return goesOn ? act(operation) : undefined;
    }
    answer(accepted());
    const { isSuccess, how } = await started.ended;
    await say(`Script ${how}, success = ${isSuccess ? 1 : 0}`);
    if (await settle(operation, isSuccess)) await act(operation);
  }

  /** Tells the host, once the rule of the second try has been applied. @returns whether the operation goes on */
  async function settle(operation: Operation, isSuccess: boolean): Promise<boolean> {
    const isSecondTry = lastFailed === operation;
    const goesOn = isSuccess || isSecondTry;
    lastFailed = goesOn ? null : operation;
    if (!isSuccess) log.warning(`${operation.name}: the script failed; ${outcome(isSecondTry)}`);
    await tellStatus(operation, goesOn);
    return goesOn;
  }

  function outcome(isSecondTry: boolean): string {
    return isSecondTry ? 'this is the second try, which goes on all the same' : 'so does the operation';
  }

  async function tellStatus({ state }: Operation, isSuccess: boolean): Promise<void> {
    await tell(`tools.os.statechange.status ${isSuccess ? 1 : 0} ${state}`);
  }

  /** A line for the virtual machine's log on the host. */
  async function say(text: string): Promise<void> {
    await tell(`log ${text}`);
  }

  async function act({ act: wanted }: Operation): Promise<void> {
    if (wanted === null) return;
    log.info(`the host wants a ${wanted.word}`);
    await say(`Initiating ${wanted.word}.`);
    const problem = await actions.power(wanted.mode).then(problemOf, messageOf);
    if (problem === null) return;
    log.error(`the ${wanted.word} failed: ${problem}`);
    await say(`The ${wanted.word} failed: ${problem}`);
  }
}

function problemOf(result: ProgramResult): string | null {
  switch (result.kind) {
    case 'exited':
      return result.code === 0
        ? null
        : `${result.program}: exit status ${result.code} ${lineOf(result.output)}`;
    case 'signaled':
      return `${result.program}: killed by signal ${result.signal}`;
    case 'not-started':
      return `${result.program}: cannot be started (errno ${result.errno})`;
  }
}

function lineOf(output: Buffer): string {
  return output.toString('utf8', 0, 200).replaceAll(/\s+/g, ' ').trim();
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
