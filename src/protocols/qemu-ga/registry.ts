/**
 * The command registry: every command is declared once, and dispatch, `guest-info`, the filter and the documentation
 * derive from the declarations (spec qemu-ga.md sections 3 and 4).
 */
import { QapiError } from './errors.ts';
import { asString, isObject, type JsonObject, type JsonValue } from './json/value.ts';
import type { ReplyValue } from './json/writer.ts';
import { type ArgumentSchema, type Arguments, parseArguments } from './schema.ts';

/** The result of a command that answers nothing when it succeeds. */
export const SILENT: unique symbol = Symbol('no reply');
export type CommandResult = ReplyValue | typeof SILENT;

export interface CommandDeclaration<Schema extends ArgumentSchema, Context> {
  name: string;
  /** QEMU version that has it first. */
  since: string;
  doc: string;
  args: Schema;
  /** What it returns, for the documentation. */
  returns: string;
  /** false: a success is not answered (`success-response` of guest-info). */
  repliesOnSuccess?: false;
  /** The success reply begins with one byte 0xFF (guest-sync-delimited). */
  delimited?: true;
  /** Hosts send it all the time: a success is no line in the audit log. */
  frequent?: true;
  run(args: Arguments<Schema>, context: Context): CommandResult | Promise<CommandResult>;
}

/** A declared command; its arguments' types are known only inside. */
export interface Command<Context> {
  readonly name: string;
  readonly since: string;
  readonly doc: string;
  readonly args: ArgumentSchema;
  readonly returns: string;
  readonly repliesOnSuccess: boolean;
  readonly delimited: boolean;
  readonly frequent: boolean;
  invoke(args: JsonObject, context: Context): CommandResult | Promise<CommandResult>;
}

/** Declares a command; `defineCommands` of the composition fixes the context. */
export function command<Schema extends ArgumentSchema, Context>(
  declaration: CommandDeclaration<Schema, Context>,
): Command<Context> {
  const { args, run } = declaration;
  return {
    name: declaration.name,
    since: declaration.since,
    doc: declaration.doc,
    args,
    returns: declaration.returns,
    repliesOnSuccess: declaration.repliesOnSuccess ?? true,
    delimited: declaration.delimited ?? false,
    frequent: declaration.frequent ?? false,
    invoke: (given, context) => run(parseArguments(args, given), context),
  };
}

/** Commands that stay enabled while file systems are frozen, whatever the lists say (spec section 4). */
const ENABLED_WHILE_FROZEN = new Set([
  'guest-ping',
  'guest-info',
  'guest-sync',
  'guest-sync-delimited',
  'guest-fsfreeze-status',
  'guest-fsfreeze-thaw',
]);

export interface CommandFilter {
  /** Empty: all are allowed. */
  allowed: readonly string[];
  blocked: readonly string[];
  isFrozen(): boolean;
}

export interface Registry<Context> {
  readonly commands: readonly Command<Context>[];
  isEnabled(name: string): boolean;
  /** The command of a request. @throws {QapiError} when the request is malformed, or the command unknown or disabled. */
  resolve(request: JsonValue): { command: Command<Context>; args: JsonObject };
}

const NO_ARGUMENTS: JsonObject = new Map();

export function createRegistry<Context>(
  commands: readonly Command<Context>[],
  filter: CommandFilter,
): Registry<Context> {
  const byName = new Map(commands.map((each) => [each.name, each]));
  const allowed = new Set(filter.allowed);
  const blocked = new Set(filter.blocked);

  function isEnabled(name: string): boolean {
    if (filter.isFrozen()) return ENABLED_WHILE_FROZEN.has(name);
    return (allowed.size === 0 || allowed.has(name)) && !blocked.has(name);
  }

  function resolve(request: JsonValue): { command: Command<Context>; args: JsonObject } {
    const { name, args } = parseRequest(request);
    const found = byName.get(name);
    if (found === undefined) throw new QapiError(`The command ${name} has not been found`, 'CommandNotFound');
    if (!isEnabled(name)) {
      throw new QapiError(`Command ${name} has been disabled: the command is not allowed`, 'CommandNotFound');
    }
    return { command: found, args };
  }

  return { commands, isEnabled, resolve };
}

/** Checks the members in the order in which they are met, as QEMU does. */
function parseRequest(request: JsonValue): { name: string; args: JsonObject } {
  if (!isObject(request)) throw new QapiError('QMP input must be a JSON object');
  let name: string | undefined;
  let args = NO_ARGUMENTS;
  for (const [member, value] of request) {
    if (member === 'execute') {
      name = asString(value);
      if (name === undefined) throw new QapiError("QMP input member 'execute' must be a string");
    } else if (member === 'arguments') {
      if (!isObject(value)) throw new QapiError("QMP input member 'arguments' must be an object");
      args = value;
    } else if (member !== 'id') {
      throw new QapiError(`QMP input member '${member}' is unexpected`);
    }
  }
  if (name === undefined) throw new QapiError("QMP input lacks member 'execute'");
  return { name, args };
}
