/**
 * The key-file format of the other agents' configuration, qemu-ga's and open-vm-tools' (GLib's GKeyFile, as its documentation
 * describes it): `[group]`, `key=value`, `#` comments. Error texts are GLib's, seen with qemu-ga 7.2.
 */

export class KeyFileError extends Error {
  override name = 'KeyFileError';
  /** 1-based. */
  readonly line: number;
  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

export interface KeyFileGroup {
  /** The value as text; undefined if there is no such key. @throws {KeyFileError} for a bad escape or invalid UTF-8 */
  text(key: string): string | undefined;
  /** `true`, `1`, `false` or `0`. @throws {KeyFileError} */
  flag(key: string): boolean | undefined;
}

interface RawValue {
  readonly line: number;
  readonly bytes: string;
}

/**
 * Reads a file and returns one group of it; without that group it is as if it were empty. Values of other groups are
 * not looked at.
 * @throws {KeyFileError} for a line that is neither group, pair nor comment
 */
export function readKeyFile(file: Uint8Array, group: string): KeyFileGroup {
  const values = new Map<string, RawValue>();
  let current: string | null = null;
  const lines = Buffer.from(file.buffer, file.byteOffset, file.byteLength).toString('latin1').split('\n');
  lines.forEach((raw, index) => {
    const line = raw.replace(/\r$/, '').replace(/^[ \t\r\f\v]+/, '');
    if (line === '' || line.startsWith('#')) return;
    const number = index + 1;
    const header = /^\[([^[\]\0-\x1f]*)\][ \t]*$/.exec(line);
    if (header) {
      current = header[1] ?? '';
      if (current === '') throw new KeyFileError(number, 'Invalid group name: ');
      return;
    }
    const equals = line.indexOf('=');
    if (equals < 1) {
      const text = quote(line);
      throw new KeyFileError(
        number,
        `Key file contains line ${text} which is not a key-value pair, group, or comment`,
      );
    }
    if (current === null) throw new KeyFileError(number, 'Key file does not start with a group');
    const key = line.slice(0, equals).trimEnd();
    if (current === group) {
      values.set(key, { line: number, bytes: line.slice(equals + 1).replace(/^[ \t]+/, '') });
    }
  });
  return {
    text: (key) => {
      const value = values.get(key);
      return value && decodeText(key, value);
    },
    flag: (key) => {
      const value = values.get(key);
      if (value === undefined) return undefined;
      const word = value.bytes.trimEnd();
      if (word === 'true' || word === '1') return true;
      if (word === 'false' || word === '0') return false;
      throw uninterpretable(key, value);
    },
  };
}

/** Writes a value as GKeyFile does. */
export function encodeText(value: string): string {
  return value
    .replaceAll('\\', '\\\\')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
    .replace(/^[ \t]+/, (blank) => blank.replaceAll(' ', '\\s').replaceAll('\t', '\\t'));
}

const ESCAPES: Readonly<Record<string, string>> = { s: ' ', n: '\n', t: '\t', r: '\r', '\\': '\\' };

function decodeText(key: string, value: RawValue): string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
      Buffer.from(value.bytes, 'latin1'),
    );
  } catch {
    const shown = quote(value.bytes);
    throw new KeyFileError(
      value.line,
      `Key file contains key “${key}” with value ${shown} which is not UTF-8`,
    );
  }
  return text.replaceAll(/\\(.?)/gs, (_, char: string) => {
    const plain = ESCAPES[char];
    if (plain === undefined) throw uninterpretable(key, value);
    return plain;
  });
}

function uninterpretable(key: string, value: RawValue): KeyFileError {
  return new KeyFileError(
    value.line,
    `Key file contains key “${key}” which has a value that cannot be interpreted.`,
  );
}

function quote(bytes: string): string {
  return `“${Buffer.from(bytes, 'latin1').toString('utf8')}”`;
}
