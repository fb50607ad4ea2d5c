/**
 * Replies as text (spec qemu-ga.md section 2): one line of ASCII, `, ` and `: ` as separators, upper-case \uXXXX. Large data is not made
 * into text here: it stays a part of its own that the session streams out.
 */
import { type JsonValue, LongText } from './value.ts';

/** Bytes that a reply carries as base64, streamed from where they are. */
export interface Base64Data {
  readonly kind: 'base64-data';
  /** Reads the next bytes into target[start, end), as many as fit unless the data ends: 0 at the end, which must be repeatable. */
  read(target: Buffer, start: number, end: number): number | Promise<number>;
}

/** A value that is known only when the parts before it have been sent. */
export type LateValue = () => bigint | number | boolean;

export type ReplyValue =
  | JsonValue
  | undefined
  | Base64Data
  | LateValue
  | ReplyValue[]
  | { readonly [member: string]: ReplyValue };

export type ReplyPart = string | LongText | Base64Data | LateValue;

/** The reply as parts in their order. Members that are undefined are left out. */
export function toParts(value: ReplyValue): ReplyPart[] {
  const parts: ReplyPart[] = [];
  let text = '';

  const addPart = (part: ReplyPart): void => {
    parts.push(text, part);
    text = '';
  };
  const add = (item: ReplyValue): void => {
    if (item === null || item === undefined) text += 'null';
    else if (typeof item === 'boolean' || typeof item === 'bigint') text += item;
    else if (typeof item === 'number') text += numberText(item);
    else if (typeof item === 'string') text += stringText(item);
    else if (typeof item === 'function') addPart(item);
    else if (item instanceof LongText) addLongText(item);
    else if (Array.isArray(item)) addList(item);
    else if (item instanceof Map) addMembers(item);
    else if (isBase64Data(item)) {
      text += '"';
      addPart(item);
      text += '"';
    } else addMembers(Object.entries(item));
  };
  const addLongText = (item: LongText): void => {
    // it may hold the single-quoted string's plain double quotes
    if (!item.isBase64) {
      text += stringText(item.toString());
      return;
    }
    text += '"';
    addPart(item);
    text += '"';
  };
  const addList = (items: ReplyValue[]): void => {
    text += '[';
    items.forEach((item, index) => {
      if (index > 0) text += ', ';
      add(item);
    });
    text += ']';
  };
  const addMembers = (members: Iterable<[string, ReplyValue]>): void => {
    text += '{';
    let separator = '';
    for (const [name, member] of members) {
      if (member === undefined) continue;
      text += `${separator}${stringText(name)}: `;
      add(member);
      separator = ', ';
    }
    text += '}';
  };

  add(value);
  parts.push(text);
  return parts;
}

function isBase64Data(item: object): item is Base64Data {
  return 'kind' in item && item.kind === 'base64-data';
}

const PLAIN = /^[ !#-[\]-~]*$/;
const SHORT_ESCAPES: Record<string, string> = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};

export function stringText(text: string): string {
  if (PLAIN.test(text)) return `"${text}"`;
  const escaped = text.replaceAll(/[^ !#-[\]-~]/g, (unit) => SHORT_ESCAPES[unit] ?? unicodeEscape(unit));
  return `"${escaped}"`;
}

/** @param unit one UTF-16 code unit */
function unicodeEscape(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`;
}

/** As C's "%.17g": 17 significant digits without trailing zeros. */
export function numberText(value: number): string {
  if (Number.isSafeInteger(value)) return String(value === 0 ? 0 : value);
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : value < 0 ? '-inf' : 'nan';
  const [digits = '', power = '0'] = value.toExponential(16).split('e');
  const exponent = Number(power);
  if (exponent >= -4 && exponent < 17) return withoutZeros(value.toFixed(Math.max(0, 16 - exponent)));
  const sign = exponent < 0 ? '-' : '+';
  return `${withoutZeros(digits)}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`;
}

function withoutZeros(digits: string): string {
  return digits.includes('.') ? digits.replace(/\.?0+$/, '') : digits;
}
