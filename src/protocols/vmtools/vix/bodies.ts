/** The bodies of the VIX commands (spec vmware.md sections 7.4, 7.5, 7.6 and 7.8). Pure; all throw {@link VixFailure}. */
import { readBody } from './body-reader.ts';
import { VIX, VixFailure } from './errors.ts';
import type { VixRequest } from './header.ts';

export interface StartProgram {
  readonly path: string;
  readonly args: string;
  readonly directory: string;
  readonly environment: readonly string[];
}

export function startProgram(request: VixRequest): StartProgram {
  const body = readBody(request);
  body.u8();
  const pathLength = body.u32();
  const argsLength = body.u32();
  const directoryLength = body.u32();
  const count = body.u32();
  const environmentLength = body.u32();
  const path = body.optional(pathLength);
  const args = body.optional(argsLength);
  const directory = body.optional(directoryLength);
  return { path, args, directory, environment: texts(body.bytes(environmentLength), count) };
}

/** Texts with a NUL each, so many and no more. */
function texts(bytes: Buffer, count: number): string[] {
  if (count === 0) return [];
  if (count > bytes.length || bytes.at(-1) !== 0) throw new VixFailure(VIX.INVALID_MESSAGE_BODY);
  const found = bytes.toString('utf8', 0, bytes.length - 1).split('\0');
  if (found.length !== count) throw new VixFailure(VIX.INVALID_MESSAGE_BODY);
  return found;
}

export interface RunProgram {
  readonly options: number;
  readonly path: string;
  readonly args: string;
}

export function runProgram(request: VixRequest): RunProgram {
  const body = readBody(request);
  const options = body.i32();
  const pathLength = body.u32();
  const argsLength = body.u32();
  return {
    options,
    path: body.required(pathLength),
    args: argsLength === 0 ? '' : body.required(argsLength),
  };
}

export interface RunScript {
  readonly options: number;
  readonly interpreter: string;
  readonly script: string;
}

export function runScript(request: VixRequest): RunScript {
  const body = readBody(request);
  const options = body.i32();
  const interpreterLength = body.u32();
  const scriptLength = body.u32();
  const propertiesLength = body.u32();
  const interpreter = body.required(interpreterLength);
  body.required(propertiesLength);
  return { options, interpreter, script: body.required(scriptLength) };
}

export interface ListProcesses {
  /** Of the list that the host is reading in pieces (0: it asks anew), and how much of it it has. */
  readonly key: number;
  readonly offset: number;
  /** Empty: all. */
  readonly pids: readonly bigint[];
}

export function listProcesses(request: VixRequest): ListProcesses {
  const body = readBody(request);
  const key = body.u32();
  const offset = body.u32();
  const numbers = body.bytes(8 * body.u32());
  const pids: bigint[] = [];
  for (let at = 0; at < numbers.length; at += 8) pids.push(numbers.readBigUInt64LE(at));
  return { key, offset, pids };
}

export function processId(request: VixRequest): bigint {
  const body = readBody(request);
  const pid = body.u64();
  body.u32();
  return pid;
}

/** Names of variables; none: all. */
export function variableNames(request: VixRequest): string[] {
  const body = readBody(request);
  const count = body.u32();
  const length = body.u32();
  return texts(body.bytes(length), count);
}

/** 18, 19, 70, 94, 194 and others: a path alone. */
export function path(request: VixRequest): string {
  const body = readBody(request);
  body.i32();
  return nonEmpty(body.required(body.u32()));
}

export interface ListFiles {
  readonly path: string;
  /** A regular expression, or empty. */
  readonly pattern: string;
  readonly index: number;
  readonly max: number;
}

export function listFiles(request: VixRequest): ListFiles {
  const body = readBody(request);
  body.i32();
  const pathLength = body.u32();
  const patternLength = body.u32();
  const index = body.i32();
  const max = body.i32();
  body.u64();
  const directory = nonEmpty(body.required(pathLength));
  const pattern = patternLength === 0 ? '' : body.required(patternLength);
  if (index < 0 || max < 0) throw new VixFailure(VIX.INVALID_ARG);
  return { path: directory, pattern, index, max };
}

/** 178 and 195: a directory, and whether its parents are made, or what is in it goes with it. */
export function directory(request: VixRequest): { readonly path: string; readonly withOthers: boolean } {
  const body = readBody(request);
  body.i32();
  const pathLength = body.u32();
  body.u32();
  const withOthers = body.u8() !== 0;
  return { path: nonEmpty(body.required(pathLength)), withOthers };
}

export function move(request: VixRequest): {
  readonly from: string;
  readonly to: string;
  readonly overwrite: boolean;
} {
  const body = readBody(request);
  body.i32();
  const fromLength = body.u32();
  const toLength = body.u32();
  body.u32();
  const overwrite = body.u8() !== 0;
  const from = nonEmpty(body.required(fromLength));
  return { from, to: nonEmpty(body.required(toLength)), overwrite };
}

export function temporary(request: VixRequest): {
  readonly prefix: string;
  readonly suffix: string;
  readonly directory: string;
} {
  const body = readBody(request);
  body.i32();
  const prefixLength = body.u32();
  const suffixLength = body.u32();
  const directoryLength = body.u32();
  body.u32();
  const prefix = body.required(prefixLength);
  const suffix = body.required(suffixLength);
  return { prefix, suffix, directory: body.required(directoryLength) };
}

export interface FileAttributes {
  /** Which of the following count (vim.vm.guest.FileManager's attributes, as bits). */
  readonly options: number;
  /** Seconds since 1970, as the reference takes them. */
  readonly accessTime: bigint;
  readonly modificationTime: bigint;
  readonly owner: number;
  readonly group: number;
  readonly permissions: number;
  readonly path: string;
}

export function fileAttributes(request: VixRequest): FileAttributes {
  const body = readBody(request);
  const fields = {
    options: body.i32(),
    accessTime: body.i64(),
    modificationTime: body.i64(),
    owner: body.i32(),
    group: body.i32(),
    permissions: body.i32(),
  };
  body.u8();
  body.u8();
  return { ...fields, path: nonEmpty(body.required(body.u32())) };
}

/** 88: what kind of variable, and its name. */
export function variable(request: VixRequest): { readonly kind: number; readonly name: string } {
  const body = readBody(request);
  const kind = body.i32();
  body.i32();
  return { kind, name: nonEmpty(body.required(body.u32())) };
}

function nonEmpty(text: string): string {
  if (text === '') throw new VixFailure(VIX.INVALID_ARG);
  return text;
}
