/** Reads signed tokens: signature, system id and contents; licensing.md "Token". */
import { type LicenseCodec, MalformedMessageError } from './codec.ts';
import { isPaidLevel } from './levels.ts';
import type { LicenseToken } from './lifecycle.ts';
import type { Message, SignedToken } from './messages.ts';
import type { SystemId } from './system-id.ts';
import type { VendorKeys } from './vendor-keys.ts';

/** A token that does not count; the message says why, without a subject: "its signature is wrong". */
export class TokenRefusedError extends Error {
  override name = 'TokenRefusedError';
}

/** Of a file or a stored token; the real ones have about 150 bytes. */
export const MAX_TOKEN_BYTES = 64 * 1024;

/** What a token is checked against. */
export interface TokenContext {
  readonly codec: LicenseCodec;
  readonly keys: VendorKeys;
  readonly systemId: SystemId;
}

/** The bytes of a `SignedToken`, or the same in base64, as it may have been pasted over a console. */
export function tokenBytes(file: Uint8Array): Uint8Array {
  const text = Buffer.from(file).toString('latin1');
  // the payload's tags (0x10, 0x18) are none of these
  return /^[A-Za-z0-9+/=\s]+$/.test(text) ? Buffer.from(text, 'base64') : file;
}

/**
 * What a signed token says.
 * @throws {TokenRefusedError} unless it is signed by one of the vendor's keys, for this system, and understood completely
 */
export function verifyToken(bytes: Uint8Array, { codec, keys, systemId }: TokenContext): LicenseToken {
  const signed = decode(codec, 'SignedToken', bytes);
  verifySignature(signed, keys);
  const token = decode(codec, 'LicenseToken', signed.payload);
  if (token.systemId !== systemId)
    throw new TokenRefusedError(`it is for the system ${shown(token.systemId)}`);
  if (token.serial === 0) throw new TokenRefusedError('it has no serial');
  return contents(token);
}

function verifySignature({ keyId, payload, signature }: SignedToken, keys: VendorKeys): void {
  if (keys.ids.length === 0) throw new TokenRefusedError('no license key is installed');
  switch (keys.verify(keyId, payload, signature)) {
    case null:
      throw new TokenRefusedError(`no license key '${shown(keyId)}' is installed`);
    case false:
      throw new TokenRefusedError('its signature is wrong');
  }
}

function contents(token: Message<'LicenseToken'>): LicenseToken {
  const { level, kind, serial, accountHint } = token;
  if (kind === null) throw new TokenRefusedError('its kind is unknown');
  if (level === null) throw new TokenRefusedError('its level is unknown');
  const common = { serial, issuedAtMs: token.issuedAt * 1000, accountHint };
  if (kind === 'released') {
    if (level !== 'free') throw new TokenRefusedError('it is released and has a level');
    return { ...common, kind };
  }
  if (!isPaidLevel(level)) throw new TokenRefusedError(`it is ${kind} and free`);
  const nextRenewalAtMs = token.nextRenewalAt * 1000;
  const deadlineAtMs = token.deadlineAt * 1000;
  const trialEndsAtMs = token.trialEndsAt * 1000;
  const isEndConsistent = kind === 'trial' ? trialEndsAtMs === deadlineAtMs : trialEndsAtMs === 0;
  const isOrdered = nextRenewalAtMs > 0 && nextRenewalAtMs <= deadlineAtMs && deadlineAtMs <= MAX_TIME_MS;
  if (!isOrdered || !isEndConsistent || common.issuedAtMs > MAX_TIME_MS) {
    throw new TokenRefusedError('its dates make no sense');
  }
  return kind === 'trial'
    ? { ...common, kind, level, nextRenewalAtMs, trialEndsAtMs }
    : { ...common, kind, level, nextRenewalAtMs, deadlineAtMs };
}

/** The last moment that a Date can be. */
const MAX_TIME_MS = 8.64e15;

function decode<Name extends 'SignedToken' | 'LicenseToken'>(
  codec: LicenseCodec,
  name: Name,
  bytes: Uint8Array,
): Message<Name> {
  if (bytes.length > MAX_TOKEN_BYTES) throw new TokenRefusedError('it is too long');
  try {
    return codec.decode(name, bytes);
  } catch (error) {
    if (!(error instanceof MalformedMessageError)) throw error;
    throw new TokenRefusedError('it is damaged', { cause: error });
  }
}

/** A stranger's text, fit for a log line. */
function shown(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 40);
}
