/** The messages of license.proto, as tables for the codec and as types. A test compares this file with the .proto file. */

/** Enum values by name; in messages a value is its name in lower case without the prefix, or null if it is not known. */
export const ENUMS = {
  Level: { free: 1, p1: 2, p10: 3, 'p-unlimited': 4 },
  Kind: { trial: 1, paid: 2, released: 3 },
  Status: {
    ok: 1,
    denied: 2,
    'unknown-account': 3,
    'bad-password': 4,
    'unknown-level': 5,
    'not-upgradable': 6,
    busy: 7,
  },
} as const;

/** Fields: number and type. */
export const MESSAGES = {
  SignedToken: { payload: [1, 'bytes'], signature: [2, 'bytes'], keyId: [3, 'string'] },
  LicenseToken: {
    systemId: [1, 'string'],
    level: [2, 'Level'],
    kind: [3, 'Kind'],
    serial: [4, 'uint64'],
    issuedAt: [5, 'uint64'],
    trialEndsAt: [6, 'uint64'],
    nextRenewalAt: [7, 'uint64'],
    deadlineAt: [8, 'uint64'],
    accountHint: [9, 'string'],
  },
  RenewRequest: {
    systemId: [1, 'string'],
    account: [2, 'string'],
    password: [3, 'bytes'],
    level: [4, 'Level'],
    currentSerial: [5, 'uint64'],
    nonce: [6, 'bytes'],
    agentVersion: [7, 'string'],
    token: [8, 'SignedToken'],
  },
  RenewResponse: {
    status: [1, 'Status'],
    message: [2, 'string'],
    token: [3, 'SignedToken'],
    nonce: [4, 'bytes'],
  },
} as const;

export type EnumName = keyof typeof ENUMS;
export type MessageName = keyof typeof MESSAGES;
/** Of the fields; `uint64` is a number up to 2^53 - 1. */
export type FieldType = 'bytes' | 'string' | 'uint64' | EnumName | 'SignedToken';

type Value<Type> = Type extends 'bytes'
  ? Uint8Array
  : Type extends 'string'
    ? string
    : Type extends 'uint64'
      ? number
      : Type extends EnumName
        ? keyof (typeof ENUMS)[Type] | null
        : SignedToken | null;

/** A message's fields by name. What was missing in the bytes has its default: empty, 0 or null. */
export type Message<Name extends MessageName> = {
  readonly [Field in keyof (typeof MESSAGES)[Name]]: Value<
    (typeof MESSAGES)[Name][Field] extends readonly [number, infer Type] ? Type : never
  >;
};

export interface SignedToken {
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
  readonly keyId: string;
}
export type RenewRequest = Message<'RenewRequest'>;
export type RenewResponse = Message<'RenewResponse'>;
