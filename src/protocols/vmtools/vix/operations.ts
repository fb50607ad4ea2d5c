/** What the profiles' operations have in common: how a command reaches its operation, and what is the same in both. */
import type { Login } from '../../../guest/authentication.ts';
import type { VixRequest } from './header.ts';
import type { OPCODE } from './opcodes.ts';

export interface VixCall {
  readonly request: VixRequest;
  /** For the report of an end. */
  readonly requestId: string;
  /** Who asks. To be called once the body makes sense. @throws {VixFailure} also when file systems are frozen meanwhile */
  login(): Promise<Login>;
}

/** @returns the result's text. @throws {VixFailure} */
export type Operation = (call: VixCall) => Promise<string>;

export type Operations = Partial<Record<(typeof OPCODE)[keyof typeof OPCODE], Operation>>;

/** A login, and nothing else. */
export const loginOnly: Operation = async ({ login }) => {
  await login();
  return '';
};
