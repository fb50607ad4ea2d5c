/** VIX requests as a host relays them to the guest, and what their answers mean; vmware.md section 7. */
import type { Vmx } from './vmx.ts';

export const VIX_OPCODE = {
  runProgram: 4,
  deleteFile: 18,
  fileExists: 19,
  runScript: 46,
  getToolsState: 62,
  directoryExists: 70,
  listProcesses: 75,
  login: 78,
  killProcess: 85,
  logout: 87,
  readVariable: 88,
  writeVariable: 89,
  getFileInfo: 94,
  listFiles: 177,
  createDirectory: 178,
  moveFile: 179,
  moveDirectory: 180,
  createTemporaryFile: 181,
  createTemporaryDirectory: 182,
  setFileAttributes: 183,
  startProgram: 185,
  listProcessesEx: 186,
  readEnvironment: 187,
  acquireCredentials: 190,
  releaseCredentials: 191,
  validateCredentials: 192,
  terminateProcess: 193,
  deleteFileEx: 194,
  deleteDirectory: 195,
} as const;

export interface Login {
  readonly user: string;
  readonly password: string;
}

/** What goes behind the body. */
export interface Credential {
  readonly type: number;
  readonly bytes: Buffer;
}

export interface VixAnswer {
  /** VIX error number, 0 for success. */
  readonly error: number;
  readonly osError: number;
  readonly result: string;
}

/** The guest's refusal of an operation. */
export class VixError extends Error {
  override readonly name = 'VixError';
  readonly error: number;
  constructor({ error, osError, result }: VixAnswer) {
    super(`VIX error ${error} (${osError}) ${JSON.stringify(result)}`);
    this.error = error;
  }
}

export interface RequestOptions {
  readonly requestId?: string;
  readonly requestFlags?: number;
  readonly commonFlags?: number;
  readonly timeoutMs?: number;
}

const MAGIC = 0xd00d0001;
const HEADER_BYTES = 51;
const REQUEST_ID = 'req-1';

export const NO_CREDENTIAL: Credential = { type: 0, bytes: Buffer.alloc(0) };

/** Name and password as vSphere (type 4) and vmrun (type 1) send them. */
export function passwordCredential({ user, password }: Login, type = 4): Credential {
  const text = escapeText(Buffer.from(`${user}\0${password}\0`).toString('base64'));
  return { type, bytes: Buffer.concat([u32(text.length, 0), Buffer.from(`${text}\0`)]) };
}

const ESCAPES = ['\\', "'", '"', ' ', '\r', '\n', '\t'];

function escapeText(text: string): string {
  return text.replaceAll(/[\\'" \r\n\t]/g, (character) => `\\${ESCAPES.indexOf(character) + 1}`);
}

/** The binary request: header, body, credential. */
export function vixFrame(
  opcode: number,
  body: Buffer = Buffer.alloc(0),
  credential: Credential = NO_CREDENTIAL,
  { requestFlags = 0, commonFlags = 0x05 }: RequestOptions = {},
): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(MAGIC, 0);
  header.writeUInt16LE(5, 4);
  header.writeUInt32LE(HEADER_BYTES + body.length + credential.bytes.length, 6);
  header.writeUInt32LE(HEADER_BYTES, 10);
  header.writeUInt32LE(body.length, 14);
  header.writeUInt32LE(credential.bytes.length, 18);
  header.writeUInt8(commonFlags, 22);
  header.writeUInt32LE(opcode, 23);
  header.writeUInt32LE(requestFlags, 27);
  header.writeUInt32LE(credential.type, 47);
  return Buffer.concat([header, body, credential.bytes]);
}

/** The TCLO command that carries a frame. */
export function relayedCommand(frame: Buffer, requestId = REQUEST_ID): Buffer {
  return Buffer.concat([Buffer.from(`Vix_1_Relayed_Command "${requestId}"\0`), frame]);
}

/** @throws {Error} if the answer is none of VIX's */
export function parseVixAnswer(bytes: Buffer): VixAnswer {
  const match = /^OK (\d+) (-?\d+) ([^\0]*)\0?$/s.exec(bytes.toString());
  if (match === null) throw new Error(`no VIX answer: ${JSON.stringify(bytes.toString('latin1', 0, 200))}`);
  const [, error, osError, result = ''] = match;
  return { error: Number(error), osError: Number(osError), result };
}

/** Asks the guest for any operation. */
export async function vixRequest(
  vmx: Vmx,
  opcode: number,
  body?: Buffer,
  credential?: Credential,
  options: RequestOptions = {},
): Promise<VixAnswer> {
  const frame = vixFrame(opcode, body, credential, options);
  const { timeoutMs } = options;
  const { bytes } = await vmx.command(
    relayedCommand(frame, options.requestId),
    timeoutMs === undefined ? {} : { timeoutMs },
  );
  return parseVixAnswer(bytes);
}

async function demand(answer: Promise<VixAnswer>): Promise<string> {
  const settled = await answer;
  if (settled.error !== 0) throw new VixError(settled);
  return settled.result;
}

export interface ProgramSpec extends Login {
  readonly programPath: string;
  readonly arguments?: string;
  readonly workingDirectory?: string;
  /** `NAME=value`. */
  readonly environment?: readonly string[];
}

/** StartProgramInGuest. @returns the pid. @throws {VixError} */
export async function startProgram(vmx: Vmx, spec: ProgramSpec): Promise<number> {
  const body = startProgramBody(spec);
  return Number(await demand(vixRequest(vmx, VIX_OPCODE.startProgram, body, passwordCredential(spec))));
}

export function startProgramBody(spec: Omit<ProgramSpec, keyof Login>): Buffer {
  const path = optionalText(spec.programPath);
  const args = optionalText(spec.arguments ?? '');
  const directory = optionalText(spec.workingDirectory ?? '');
  const environment = (spec.environment ?? []).map((entry) => Buffer.from(`${entry}\0`));
  const environmentBytes = environment.reduce((sum, { length }) => sum + length, 0);
  return Buffer.concat([
    Buffer.from([0]),
    u32(path.length, args.length, directory.length, environment.length, environmentBytes),
    path,
    args,
    directory,
    ...environment,
  ]);
}

export interface ListedProcess {
  readonly command: string | null;
  readonly name: string;
  readonly pid: number;
  readonly owner: string;
  /** Unix time. */
  readonly startSeconds: number;
  /** null while it runs. */
  readonly endSeconds: number | null;
  /** null while it runs, and for processes that the tools did not start. */
  readonly exitCode: number | null;
}

/** ListProcessesInGuest; no pids: all. @throws {VixError} */
export async function listProcesses(
  vmx: Vmx,
  { pids = [], ...login }: Login & { readonly pids?: readonly number[] },
): Promise<ListedProcess[]> {
  const credential = passwordCredential(login);
  const ask = (key: number, offset: number): Promise<string> =>
    demand(vixRequest(vmx, VIX_OPCODE.listProcessesEx, listProcessesBody(pids, key, offset), credential));
  let text = await ask(0, 0);
  const first = /^<key>(\d+)<\/key><totalSize>\d+<\/totalSize><leftToSend>(\d+)<\/leftToSend>/.exec(text);
  if (first !== null) {
    // a long list comes in pieces; offsets count bytes
    let bytes = Buffer.from(text.slice(first[0].length));
    let left = Number(first[2]);
    while (left > 0) {
      const piece = await ask(Number(first[1]), bytes.length);
      const head = /^<leftToSend>(\d+)<\/leftToSend>/.exec(piece);
      if (head === null) throw new Error(`no piece of a list: ${piece.slice(0, 80)}`);
      bytes = Buffer.concat([bytes, Buffer.from(piece.slice(head[0].length))]);
      left = Number(head[1]);
    }
    text = bytes.toString();
  }
  return parseProcesses(text);
}

export function listProcessesBody(pids: readonly number[], key = 0, offset = 0): Buffer {
  const numbers = Buffer.alloc(8 * pids.length);
  pids.forEach((pid, index) => {
    numbers.writeBigUInt64LE(BigInt(pid), 8 * index);
  });
  return Buffer.concat([u32(key, offset, pids.length), numbers]);
}

export function parseProcesses(text: string): ListedProcess[] {
  return [...text.matchAll(/<proc>(.*?)<\/proc>/gs)].map(([, entry = '']) => {
    const field = (name: string): string | null => {
      const value = new RegExp(`<${name}>(.*?)</${name}>`, 's').exec(entry)?.[1];
      return value === undefined ? null : unescapeXml(value);
    };
    const endSeconds = Number(field('eTime') ?? 0) || null;
    const exitCode = field('eCode');
    return {
      command: field('cmd'),
      name: field('name') ?? '',
      pid: Number(field('pid')),
      owner: field('user') ?? '',
      startSeconds: Number(field('start')),
      endSeconds,
      exitCode: endSeconds === null || exitCode === null ? null : Number(exitCode),
    };
  });
}

/** `%XX` stands for the characters that would be read as part of the markup. */
function unescapeXml(text: string): string {
  return text.replaceAll(/%(22|25|26|27|3C|3E)/g, (_, code: string) =>
    String.fromCharCode(Number.parseInt(code, 16)),
  );
}

/** vmrun's runScriptInGuest. */
export function runScriptBody(
  interpreter: string,
  script: string,
  { options = 0, properties = '' } = {},
): Buffer {
  const texts = [interpreter, script, properties].map((text) => Buffer.byteLength(text));
  return Buffer.concat([
    u32(options, ...texts),
    requiredText(interpreter),
    requiredText(properties),
    requiredText(script),
  ]);
}

/** vmrun's runProgramInGuest. */
export function runProgramBody(path: string, args = '', options = 0): Buffer {
  return Buffer.concat([
    u32(options, Buffer.byteLength(path), Buffer.byteLength(args)),
    requiredText(path),
    args === '' ? Buffer.alloc(0) : requiredText(args),
  ]);
}

export function terminateProcessBody(pid: number): Buffer {
  const body = Buffer.alloc(12);
  body.writeBigUInt64LE(BigInt(pid));
  return body;
}

/** The length in front of an optional text counts its NUL; 0 is none at all. */
export function optionalText(text: string): Buffer {
  return text === '' ? Buffer.alloc(0) : Buffer.from(`${text}\0`);
}

/** The length in front of a required text does not count its NUL. */
export function requiredText(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

export function u32(...numbers: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * numbers.length);
  numbers.forEach((number, index) => {
    bytes.writeUInt32LE(number >>> 0, 4 * index);
  });
  return bytes;
}
