/** The results of VIX commands as text: XML-like lists, and property lists (spec vmware.md sections 7.4, 7.6, 7.7 and 7.10). Pure. */

/** What a process, or a job, is listed as. */
export interface ListedProcess {
  /** Base name of the program; null: not known. */
  readonly command: string | null;
  /** The whole command line. */
  readonly name: string;
  readonly pid: number | bigint;
  readonly user: string;
  readonly startSeconds: number;
  /** null while it runs. */
  readonly end: { readonly exitCode: number; readonly atSeconds: number } | null;
}

export function processEntry(process: ListedProcess): string {
  const { command, name, pid, user, startSeconds, end } = process;
  const cmd = command === null ? '' : `<cmd>${escapeValue(command)}</cmd>`;
  return (
    `<proc>${cmd}<name>${escapeValue(name)}</name><pid>${pid}</pid><user>${escapeValue(user)}</user>` +
    `<start>${startSeconds}</start><eCode>${end?.exitCode ?? 0}</eCode><eTime>${end?.atSeconds ?? 0}</eTime></proc>`
  );
}

/** The older command's, which knows nothing of ends. */
export function oldProcessEntry(process: ListedProcess, isEscaped: boolean): string {
  const { command, name, pid, user, startSeconds } = process;
  const value = (text: string): string => (isEscaped ? escapeValue(text) : text);
  const cmd = command === null ? '' : `<cmd>${value(command)}</cmd>`;
  return `<proc>${cmd}<name>${value(name)}</name><pid>${pid}</pid><user>${value(user)}</user><start>${startSeconds}</start></proc>`;
}

/** `%XX` for what could be taken for the mark-up. */
export function escapeValue(text: string): string {
  return text.replaceAll(
    /["%&'<>]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

export type Property =
  | readonly [id: number, type: 'int32', value: number]
  | readonly [id: number, type: 'text', value: string]
  | readonly [id: number, type: 'bool', value: boolean];

/** Base64, as it travels. */
export function propertyList(properties: readonly Property[]): string {
  return Buffer.concat(properties.map(encodeProperty)).toString('base64');
}

function encodeProperty([id, type, value]: Property): Buffer {
  const [number, bytes] = encodeValue(type, value);
  const head = Buffer.alloc(12);
  head.writeUInt32LE(id, 0);
  head.writeUInt32LE(number, 4);
  head.writeUInt32LE(bytes.length, 8);
  return Buffer.concat([head, bytes]);
}

function encodeValue(type: Property[1], value: Property[2]): [number, Buffer] {
  switch (type) {
    case 'int32': {
      const bytes = Buffer.alloc(4);
      bytes.writeInt32LE(Number(value));
      return [1, bytes];
    }
    case 'text':
      return [2, Buffer.from(`${value}\0`)];
    case 'bool':
      return [3, Buffer.from([value === true ? 1 : 0])];
  }
}
