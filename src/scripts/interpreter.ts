/**
 * Which command runs a script: the `#!` line as Linux reads it (fs/binfmt_script.c's rules, execve(2)), else the
 * configured interpreter. Pure; design.md "Script semantics".
 */

/** How much of a script the kernel looks at, and so how much these functions want to see. */
export const HEAD_BYTES = 256;

export type InterpreterLine =
  /** The script does not start with `#!`. */
  | { kind: 'absent' }
  /** It does, but names no interpreter, or one that is cut off: execve gives ENOEXEC. */
  | { kind: 'broken' }
  | { kind: 'present'; interpreter: string; argument: string | null };

const NEWLINE = 0x0a;
const isBlank = (byte: number | undefined): boolean => byte === 0x20 || byte === 0x09;
/** What ends the interpreter's name. */
const isEnd = (byte: number | undefined): boolean => isBlank(byte) || byte === 0;

/** Parses the line at the start of a script. Everything after the interpreter's name is one argument, inner blanks too. */
export function parseInterpreterLine(script: Uint8Array): InterpreterLine {
  if (script[0] !== 0x23 || script[1] !== 0x21) return { kind: 'absent' };
  const head = script.subarray(0, HEAD_BYTES);
  const newline = head.indexOf(NEWLINE);
  const last = HEAD_BYTES - 1;
  let end = newline < 0 ? Math.min(head.length, last) : newline;
  while (end > 2 && isBlank(head[end - 1])) end -= 1;

  let start = 2;
  while (start < end && isBlank(head[start])) start += 1;
  let nameEnd = start;
  while (nameEnd < end && !isEnd(head[nameEnd])) nameEnd += 1;
  const cut = newline < 0 && nameEnd === last && head.length > last && !isEnd(head[last]);
  if (nameEnd === start || cut) return { kind: 'broken' };

  let argumentStart = nameEnd;
  while (argumentStart < end && isBlank(head[argumentStart])) argumentStart += 1;
  let argumentEnd = argumentStart;
  while (argumentEnd < end && head[argumentEnd] !== 0) argumentEnd += 1;
  const text = (from: number, to: number): string => Buffer.from(head.subarray(from, to)).toString('utf8');
  return {
    kind: 'present',
    interpreter: text(start, nameEnd),
    argument: argumentEnd > argumentStart ? text(argumentStart, argumentEnd) : null,
  };
}

const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46];

/** Whether the kernel itself can run a file that starts so. */
function isProgram(head: Uint8Array): boolean {
  return ELF_MAGIC.every((byte, at) => head[at] === byte) || parseInterpreterLine(head).kind !== 'absent';
}

/** The command for a script file: executed as it is if it can be, else by the interpreter. */
export function commandForFile(
  path: string,
  head: Uint8Array,
  executable: boolean,
  interpreter: string,
): string[] {
  return executable && isProgram(head) ? [path] : [interpreter, path];
}

/**
 * The command for a script text that lies in the file `path`, which nobody may execute (its directory may be mounted
 * noexec), or null if its `#!` line is broken.
 */
export function commandForText(path: string, text: Uint8Array, interpreter: string): string[] | null {
  const line = parseInterpreterLine(text);
  switch (line.kind) {
    case 'absent':
      return [interpreter, path];
    case 'broken':
      return null;
    case 'present':
      return line.argument === null ? [line.interpreter, path] : [line.interpreter, line.argument, path];
  }
}
