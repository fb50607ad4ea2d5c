/** `chr-agent license renew`: the questions, and what the daemon made of the answers. */
import { EXCHANGE_LIMIT_MS } from '../../license/account-api.ts';
import { callControl } from '../control-client.ts';
import { type CliContext, UsageError } from './command.ts';
import { openConsoleInput } from './console-input.ts';
import { EXIT } from './exit-codes.ts';

/** The daemon may have to end an attempt of its own before, and read and write files after. */
const TIME_LIMIT_MS = EXCHANGE_LIMIT_MS + 15_000;

export interface RenewOptions {
  readonly account?: string | undefined;
  readonly level?: string | undefined;
}

/** @throws {ControlCallError} why not, as the daemon says it */
export async function renew(
  controlSocket: string,
  options: RenewOptions,
  context: CliContext,
): Promise<number> {
  // before anybody types a password in vain
  await callControl(controlSocket, 'license');
  const answers = await askAll(options, context);
  try {
    await callControl(controlSocket, 'license-renew', answers, TIME_LIMIT_MS);
  } finally {
    answers.password.fill(0);
  }
  context.out('status: done\n');
  return EXIT.ok;
}

interface Answers {
  readonly account: string;
  readonly password: Uint8Array;
  readonly level: string;
}

async function askAll(options: RenewOptions, context: CliContext): Promise<Answers> {
  const input = openConsoleInput(process.stdin, context.out, () => process.kill(process.pid, 'SIGINT'));
  try {
    const account = (options.account ?? (await input.line('account: ')) ?? '').trim();
    if (account === '') throw new UsageError('An account is missing');
    const password = await input.secret('password: ');
    if (password === null) throw new UsageError('A password is missing');
    // with a trial or license it does not count: no line is an answer too
    const level = (options.level ?? (await input.line('level: ')) ?? '').trim();
    return { account, password, level };
  } finally {
    input.close();
  }
}
