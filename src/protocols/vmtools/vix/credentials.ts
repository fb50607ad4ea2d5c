/** The credential behind a VIX command's body (spec vmware.md section 7.3). Pure. */
import { VIX, VixFailure } from './errors.ts';
import type { VixRequest } from './header.ts';

export interface PasswordCredential {
  readonly name: string;
  readonly password: Buffer;
  /** Overwrites the password, here and where it was found. */
  wipe(): void;
}

const NAME_PASSWORD = 1;
const NAME_PASSWORD_OBFUSCATED = 4;
/** Two numbers in front of the text. */
const LENGTHS_BYTES = 8;

const BACKSLASH = 0x5c;
/** By the digit behind the backslash, from 1 on. */
const ESCAPED = Buffer.from('\\\'" \r\n\t');
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/**
 * Of the kinds that stand for a user and a password. All else is refused, also the host's word that it may (type 3): whoever
 * holds the host could be anyone then (CVE-2023-20867).
 * @throws {VixFailure} 6 for another kind, 10001 for what is no text, 3050 for a text that is no credential
 */
export function passwordCredential({ credentialType, credential }: VixRequest): PasswordCredential {
  if (credentialType !== NAME_PASSWORD && credentialType !== NAME_PASSWORD_OBFUSCATED)
    throw new VixFailure(VIX.NOT_SUPPORTED);
  const end = credential.indexOf(0, LENGTHS_BYTES);
  if (credential.length <= LENGTHS_BYTES || end < 0) throw new VixFailure(VIX.INVALID_MESSAGE_BODY);
  // not by strings, which nobody can wipe
  const plain = decode(credential.subarray(LENGTHS_BYTES, end));
  const nameEnd = plain?.indexOf(0) ?? -1;
  const passwordEnd = plain?.indexOf(0, nameEnd + 1) ?? -1;
  if (plain === null || nameEnd < 0 || passwordEnd < 0) {
    plain?.fill(0);
    credential.fill(0);
    throw new VixFailure(VIX.INVALID_LOGIN_CREDENTIALS);
  }
  return {
    name: plain.toString('utf8', 0, nameEnd),
    password: plain.subarray(nameEnd + 1, passwordEnd),
    wipe() {
      plain.fill(0);
      credential.fill(0);
    },
  };
}

/** Takes the escapes out and decodes base64; null for what is neither. */
function decode(text: Buffer): Buffer | null {
  const plain = Buffer.alloc(Math.ceil((text.length * 3) / 4));
  let length = 0;
  let bits = 0;
  let count = 0;
  for (let at = 0; at < text.length; at += 1) {
    let byte = text[at] ?? 0;
    if (byte === BACKSLASH) {
      at += 1;
      const escaped = ESCAPED[(text[at] ?? 0) - 0x31];
      if (escaped === undefined) return null;
      byte = escaped;
    }
    const value = byte === 0x3d ? -1 : BASE64.indexOf(String.fromCharCode(byte));
    // padding, and what glib's decoder skips too
    if (value < 0) continue;
    bits = ((bits << 6) | value) & 0xffffff;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    plain[length] = (bits >> count) & 0xff;
    length += 1;
  }
  return plain.subarray(0, length);
}
