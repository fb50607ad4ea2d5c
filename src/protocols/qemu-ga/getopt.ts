/**
 * Parses an argument list as glibc's getopt_long(3) does by default: bundled short options, abbreviated long ones,
 * options after positional words, `--` ends the options. The texts of the errors are glibc's.
 */

export interface OptionSpec {
  /** Without the dashes. */
  readonly long: string;
  /** What the option is called in the result; several long names may share one. */
  readonly short: string;
  readonly argument: 'none' | 'required' | 'optional';
}

export type ParsedWord =
  | { readonly kind: 'option'; readonly short: string; readonly value: string | null }
  | { readonly kind: 'positional'; readonly word: string }
  /** Parsing ends here. The text is what getopt writes after `PROGRAM: `. */
  | { readonly kind: 'error'; readonly message: string };

/** Yields the options in their order, lazily: what follows an error is not looked at. */
export function* getoptLong(argv: readonly string[], specs: readonly OptionSpec[]): Generator<ParsedWord> {
  const words = argv.values();
  for (const word of words) {
    if (word === '--') {
      for (const rest of words) yield { kind: 'positional', word: rest };
    } else if (word.startsWith('--')) {
      yield longOption(word.slice(2), specs, words);
    } else if (word.startsWith('-') && word !== '-') {
      yield* shortOptions(word.slice(1), specs, words);
    } else {
      yield { kind: 'positional', word };
    }
  }
}

function* shortOptions(
  bundle: string,
  specs: readonly OptionSpec[],
  words: Iterator<string, undefined>,
): Generator<ParsedWord> {
  for (let at = 0; at < bundle.length; at++) {
    const short = bundle[at] ?? '';
    const spec = specs.find((candidate) => candidate.short === short);
    if (spec === undefined) {
      yield { kind: 'error', message: `invalid option -- '${short}'` };
      return;
    }
    if (spec.argument === 'none') {
      yield { kind: 'option', short, value: null };
      continue;
    }
    const attached = bundle.slice(at + 1);
    if (attached !== '' || spec.argument === 'optional') {
      yield { kind: 'option', short, value: attached === '' ? null : attached };
      return;
    }
    const next = words.next();
    yield next.done
      ? { kind: 'error', message: `option requires an argument -- '${short}'` }
      : { kind: 'option', short, value: next.value };
    return;
  }
}

function longOption(
  word: string,
  specs: readonly OptionSpec[],
  words: Iterator<string, undefined>,
): ParsedWord {
  const equals = word.indexOf('=');
  const name = equals < 0 ? word : word.slice(0, equals);
  const attached = equals < 0 ? null : word.slice(equals + 1);
  const candidates = specs.filter(({ long }) => long.startsWith(name));
  const exact = candidates.find(({ long }) => long === name);
  const spec = exact ?? candidates[0];
  if (spec === undefined) return { kind: 'error', message: `unrecognized option '--${word}'` };
  // different names of one option are no ambiguity
  if (exact === undefined && candidates.some(({ short }) => short !== spec.short)) {
    const possibilities = candidates.map(({ long }) => `'--${long}'`).join(' ');
    return { kind: 'error', message: `option '--${word}' is ambiguous; possibilities: ${possibilities}` };
  }
  if (spec.argument === 'none' && attached !== null) {
    return { kind: 'error', message: `option '--${spec.long}' doesn't allow an argument` };
  }
  if (spec.argument !== 'required' || attached !== null) {
    return { kind: 'option', short: spec.short, value: attached };
  }
  const next = words.next();
  return next.done
    ? { kind: 'error', message: `option '--${spec.long}' requires an argument` }
    : { kind: 'option', short: spec.short, value: next.value };
}
