/**
 * VIX, the guest operations of vSphere and vmrun, as a part of the service: from the relayed command to its reply (spec vmware.md
 * section 7). What an operation does is the profile's; nothing is done before its user has logged in.
 */
import type { Authentication, Login } from '../../../guest/authentication.ts';
import type { FreezeGate } from '../../../guest/freeze-gate.ts';
import type { Log } from '../../../log.ts';
import type { VmtoolsPart } from '../part.ts';
import { accepted, type TcloReply } from '../rpc.ts';
import { MAX_TCLO_BYTES } from '../tclo.ts';
import type { ToolsConfFile } from '../tools-conf.ts';
import { passwordCredential } from './credentials.ts';
import { VIX, VixFailure } from './errors.ts';
import { COMMON_BINARY, parseFrame, parseRequest, type VixRequest } from './header.ts';
import { isBeforeLoginErrors, isKnownOpcode, OPCODE, operationName } from './opcodes.ts';
import type { Operation, Operations } from './operations.ts';

export interface GuestOperationsOptions {
  /** Those of the profile. */
  readonly operations: Operations;
  readonly authentication: Authentication;
  /** What GET_TOOLS_STATE says. Not while frozen. */
  readonly toolsState: () => string;
  readonly toolsConf: ToolsConfFile;
  readonly gate: FreezeGate;
  readonly log: Log;
  /** Ends timers and what runs. */
  readonly stop: () => void | Promise<void>;
}

/** The reply's prefix and the numbers take the rest of 64 KiB. */
const MAX_RESULT_BYTES = 65_480;
/** What the result is when there is none: a process id, or no. */
const FAILED_RESULT: ReadonlyMap<number, string> = new Map([
  [OPCODE.RUN_PROGRAM, '-1'],
  [OPCODE.RUN_SCRIPT, '-1'],
  [OPCODE.START_PROGRAM, '-1'],
  [OPCODE.FILE_EXISTS, '0'],
  [OPCODE.DIRECTORY_EXISTS, '0'],
]);

export function createGuestOperations(options: GuestOperationsOptions): VmtoolsPart {
  const { authentication, toolsConf, gate, log } = options;
  const operations = new Map<number, Operation>(
    Object.entries(options.operations).map(([opcode, operation]) => [Number(opcode), operation]),
  );
  operations.set(OPCODE.GET_TOOLS_STATE, async () => options.toolsState());

  async function login(request: VixRequest): Promise<Login> {
    const credential = passwordCredential(request);
    try {
      const login = await authentication.authenticate(credential.name, credential.password);
      if (login === null) throw new VixFailure(VIX.INVALID_LOGIN_CREDENTIALS);
      if (gate.frozen) throw new VixFailure(VIX.OBJECT_IS_BUSY);
      return login;
    } finally {
      credential.wipe();
    }
  }

  async function isDisabled(opcode: number): Promise<boolean> {
    const conf = await toolsConf.read();
    const name = operationName(opcode);
    if (conf.flag('guestoperations', 'disabled') === true) return opcode !== OPCODE.GET_TOOLS_STATE;
    return name !== null && conf.flag('guestoperations', `${name}.disabled`) === true;
  }

  async function execute(request: VixRequest, requestId: string): Promise<string> {
    const { opcode } = request;
    if (gate.frozen) throw new VixFailure(VIX.OBJECT_IS_BUSY);
    if (await isDisabled(opcode)) throw new VixFailure(VIX.OPERATION_DISABLED);
    const operation = operations.get(opcode);
    if (operation === undefined)
      throw new VixFailure(isKnownOpcode(opcode) ? VIX.NOT_SUPPORTED : VIX.UNRECOGNIZED_COMMAND);
    // reading the configuration took a moment
    if (gate.frozen) throw new VixFailure(VIX.OBJECT_IS_BUSY);
    const result = await operation({ request, requestId, login: () => login(request) });
    if (Buffer.byteLength(result) > MAX_RESULT_BYTES) throw new VixFailure(VIX.OUT_OF_MEMORY);
    return result;
  }

  async function relayed(argument: Buffer): Promise<TcloReply> {
    const frame = parseFrame(argument);
    let request: VixRequest | null = null;
    try {
      request = parseRequest(frame?.request ?? Buffer.alloc(0));
      if (argument.length > MAX_TCLO_BYTES) throw new VixFailure(VIX.INVALID_ARG);
      const result = await execute(request, frame?.requestId ?? '');
      return reply(VIX.OK, 0, result, (request.commonFlags & COMMON_BINARY) !== 0);
    } catch (error) {
      const failure = error instanceof VixFailure ? error : unexpected(error);
      const opcode = request?.opcode ?? -1;
      log.debug(`guest operation ${opcode} of request ${frame?.requestId}: ${failure.message}`);
      const code =
        failure.code === VIX.INVALID_LOGIN_CREDENTIALS && isBeforeLoginErrors(opcode)
          ? VIX.GUEST_USER_PERMISSIONS
          : failure.code;
      return reply(code, failure.osError, FAILED_RESULT.get(opcode) ?? '');
    } finally {
      // a request that could not be read may hold a password too
      argument.fill(0);
    }
  }

  function unexpected(error: unknown): VixFailure {
    log.error(`guest operation: ${error instanceof Error ? error.stack : String(error)}`);
    return new VixFailure(VIX.FAIL);
  }

  return {
    commands: {
      Vix_1_Relayed_Command: relayed,
      async Vix_1_Get_ToolsProperties() {
        if (gate.frozen) return reply(VIX.OBJECT_IS_BUSY, 0, '');
        return reply(VIX.OK, 0, options.toolsState());
      },
    },
    stop: options.stop,
  };
}

/** A failure is told by its number: the command as such has been understood. */
function reply(code: number, osError: number, result: string, isBinary = false): TcloReply {
  return accepted(isBinary ? `${code} ${osError} #${result}` : `${code} ${osError} ${result}\0`);
}
