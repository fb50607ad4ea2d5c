/**
 * Argument schemas: each command declares its arguments with these, and validation, the handler's types and the
 * documentation follow. The texts are those of QEMU's input visitor (spec qemu-ga.md section 3).
 */
import { QapiError } from './errors.ts';
import { asString, isObject, type JsonObject, type JsonValue, LongText } from './json/value.ts';

/** How one argument is read. `T` is what the handler gets. */
export interface ArgumentType<T> {
  /** As the documentation shows it: `int`, `[str]` … */
  readonly label: string;
  /** @param path how the argument is named in an error: `vcpus[0].online` */
  parse(value: JsonValue, path: string): T;
}

export interface Argument<T, Optional extends boolean = boolean> {
  readonly type: ArgumentType<T>;
  readonly optional: Optional;
  readonly doc: string;
}

export type ArgumentSchema = Readonly<Record<string, Argument<unknown>>>;

/** The handler's view of a schema. */
export type Arguments<Schema extends ArgumentSchema> = {
  readonly [Name in keyof Schema as Schema[Name]['optional'] extends false
    ? Name
    : never]: Schema[Name] extends Argument<infer T> ? T : never;
} & {
  readonly [Name in keyof Schema as Schema[Name]['optional'] extends true
    ? Name
    : never]?: Schema[Name] extends Argument<infer T> ? T : never;
};

export function required<T>(type: ArgumentType<T>, doc: string): Argument<T, false> {
  return { type, optional: false, doc };
}

export function optional<T>(type: ArgumentType<T>, doc: string): Argument<T, true> {
  return { type, optional: true, doc };
}

function wrongType(path: string, expected: string): QapiError {
  return new QapiError(`Invalid parameter type for '${path}', expected: ${expected}`);
}

const INT64_MAX = 2n ** 63n - 1n;

/** A signed 64-bit integer. */
export const int: ArgumentType<bigint> = {
  label: 'int',
  parse(value, path) {
    if (typeof value !== 'bigint' || value > INT64_MAX) throw wrongType(path, 'integer');
    return value;
  },
};

export const bool: ArgumentType<boolean> = {
  label: 'bool',
  parse(value, path) {
    if (typeof value !== 'boolean') throw wrongType(path, 'boolean');
    return value;
  },
};

export const str: ArgumentType<string> = {
  label: 'str',
  parse(value, path) {
    const text = asString(value);
    if (text === undefined) throw wrongType(path, 'string');
    return text;
  },
};

/** Text that the handler decodes itself, since other checks come first; see `base64.ts`. */
export const base64: ArgumentType<string | LongText> = {
  label: 'str (base64)',
  parse(value, path) {
    if (typeof value !== 'string' && !(value instanceof LongText)) throw wrongType(path, 'string');
    return value;
  },
};

export function list<T>(item: ArgumentType<T>): ArgumentType<T[]> {
  return {
    label: `[${item.label}]`,
    parse(value, path) {
      if (!Array.isArray(value)) throw wrongType(path, 'array');
      return value.map((entry, index) => item.parse(entry, `${path}[${index}]`));
    },
  };
}

/** One of some words. */
export function word<const Words extends readonly string[]>(...words: Words): ArgumentType<Words[number]> {
  return {
    label: words.map((each) => `"${each}"`).join(' | '),
    parse(value, path) {
      const text = asString(value);
      if (text === undefined) throw wrongType(path, 'string');
      const found = words.find((each) => each === text);
      if (found === undefined) throw new QapiError(`Parameter '${path}' does not accept value '${text}'`);
      return found;
    },
  };
}

/** What QEMU calls an alternate: the value's JSON type picks the variant. */
export function alternate<T>(
  name: string,
  variants: { string?: ArgumentType<T>; integer?: ArgumentType<T>; boolean?: ArgumentType<T> },
): ArgumentType<T> {
  const pick = (value: JsonValue): ArgumentType<T> | undefined => {
    if (typeof value === 'string' || value instanceof LongText) return variants.string;
    if (typeof value === 'bigint') return variants.integer;
    return typeof value === 'boolean' ? variants.boolean : undefined;
  };
  return {
    label: Object.values(variants)
      .map((variant) => variant.label)
      .join(' | '),
    parse(value, path) {
      const variant = pick(value);
      if (variant === undefined) throw wrongType(path, name);
      return variant.parse(value, path);
    },
  };
}

/** A nested object with members of its own. */
export function struct<Schema extends ArgumentSchema>(schema: Schema): ArgumentType<Arguments<Schema>> {
  return {
    label: `{${Object.keys(schema).join(', ')}}`,
    parse(value, path) {
      if (!isObject(value)) throw wrongType(path, 'object');
      return parseArguments(schema, value, `${path}.`);
    },
  };
}

/**
 * Reads a command's arguments in the order of the schema, as QEMU does, then refuses what is left over.
 * @throws {QapiError} with QEMU's text for a missing, wrong or unknown argument.
 */
export function parseArguments<Schema extends ArgumentSchema>(
  schema: Schema,
  given: JsonObject,
  prefix = '',
): Arguments<Schema> {
  const parsed: Record<string, unknown> = {};
  for (const [name, argument] of Object.entries(schema)) {
    const value = given.get(name);
    if (value !== undefined) parsed[name] = argument.type.parse(value, prefix + name);
    else if (!argument.optional) throw new QapiError(`Parameter '${prefix}${name}' is missing`);
  }
  for (const name of given.keys()) {
    if (!Object.hasOwn(schema, name)) throw new QapiError(`Parameter '${prefix}${name}' is unexpected`);
  }
  // each member was read by its own argument's type just above
  return parsed as Arguments<Schema>;
}
