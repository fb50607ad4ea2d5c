/** The system id: 64 random bits, shown as 11 base64 characters without padding (licensing.md "System id"). */

/** Like `6lR1ZP/utuJ`. */
export type SystemId = string;

/** @param random 8 random bytes */
export function makeSystemId(random: Uint8Array): SystemId {
  if (random.length !== 8) throw new RangeError('a system id has 8 bytes');
  return Buffer.from(random).toString('base64').slice(0, 11);
}

/**
 * Eleven base64 characters hold 66 bits; the documentation's own example (`6lR1ZP/utuJ`) uses all of them, so an id is
 * compared as text and never decoded.
 */
export function isSystemId(text: string): boolean {
  return /^[A-Za-z0-9+/]{11}$/.test(text);
}
