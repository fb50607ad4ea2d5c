/** Type 11, the details of the guest's system, as the host reads them; vmware.md section 6.5. */

export interface OsDetails {
  readonly shortName: string;
  readonly fullName: string;
  /** In the order sent. */
  readonly details: ReadonlyMap<string, string>;
}

const SHORT_NAME = { at: 4, size: 129 };
const FULL_NAME = { at: 133, size: 513 };
const PADDING = { at: 646, size: 2 };
const DETAILS_AT = 648;
const MAX_DETAILS = 1023;

function padded(bytes: Buffer, { at, size }: { at: number; size: number }): string {
  const field = bytes.subarray(at, at + size);
  const end = field.indexOf(0);
  if (end < 0) throw new Error(`OS details: no NUL in the field at ${at}`);
  if (field.subarray(end).some((byte) => byte !== 0))
    throw new Error(`OS details: rubbish behind the text at ${at}`);
  return field.toString('utf8', 0, end);
}

export function decodeOsDetails(bytes: Buffer): OsDetails {
  if (bytes.length <= DETAILS_AT) throw new Error(`OS details: only ${bytes.length} bytes`);
  const version = bytes.readUInt32LE();
  if (version !== 1) throw new Error(`OS details: version ${version}`);
  if (bytes.readUInt16LE(PADDING.at) !== 0) throw new Error('OS details: the padding is not zero');
  const nul = bytes.indexOf(0, DETAILS_AT);
  if (nul !== bytes.length - 1) throw new Error('OS details: the text must end in one NUL');
  if (nul - DETAILS_AT > MAX_DETAILS) throw new Error('OS details: the text is too long');
  const text = bytes.toString('utf8', DETAILS_AT, nul);
  const details = new Map<string, string>();
  let rest = text;
  while (rest !== '') {
    const item = /^(\w+)='([^']*)'(?: |$)/.exec(rest);
    if (item?.[1] === undefined || item[2] === undefined)
      throw new Error(`OS details: not understood: ${JSON.stringify(rest)}`);
    details.set(item[1], item[2]);
    rest = rest.slice(item[0].length);
  }
  return { shortName: padded(bytes, SHORT_NAME), fullName: padded(bytes, FULL_NAME), details };
}
