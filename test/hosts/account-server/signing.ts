/** The vendor's side of tokens: key pairs and signatures (docs/licensing.md "Tokens"). */
import { createPrivateKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { licenseCodec } from '../../../src/license/codec.ts';
import type { Message, SignedToken } from '../../../src/license/messages.ts';

export interface SigningKey {
  /** The name of the public key's file in license-keys.d without `.pem`. */
  readonly id: string;
  readonly privateKey: KeyObject;
}

export type TokenFields = Message<'LicenseToken'>;

export interface KeyFiles {
  readonly privatePem: string;
  readonly publicPem: string;
}

export function makeKeyPair(): KeyFiles {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privatePem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
}

export function signingKey(id: string, privatePem: string): SigningKey {
  return { id, privateKey: createPrivateKey(privatePem) };
}

export async function signToken(fields: TokenFields, key: SigningKey): Promise<SignedToken> {
  const payload = (await licenseCodec()).encode('LicenseToken', fields);
  return signPayload(payload, key);
}

export function signPayload(payload: Uint8Array, { id, privateKey }: SigningKey): SignedToken {
  return { payload, signature: sign(null, payload, privateKey), keyId: id };
}

export async function encodeToken(token: SignedToken): Promise<Uint8Array> {
  return (await licenseCodec()).encode('SignedToken', token);
}
