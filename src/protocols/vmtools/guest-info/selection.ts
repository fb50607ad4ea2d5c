/** Which interfaces the host hears of, and in which order (spec vmware.md section 6.7). Pure. */

/** Comma-separated patterns as for fnmatch(3): `*`, `?`, `[…]`. */
export interface NicPatterns {
  readonly exclude: string;
  readonly primary: string;
  readonly lowPriority: string;
}

export interface SelectableInterface {
  readonly name: string;
  readonly up: boolean;
  readonly loopback: boolean;
  readonly addresses: readonly unknown[];
}

/** Of container and virtual machine hosts' own networks. */
export const DEFAULT_EXCLUDED = 'docker*,veth*,virbr*,antrea-*,cali*';

/**
 * Those that are up, in the order primary, others, low priority, each in the kernel's order. Who is in two lists belongs to
 * the first of: excluded, primary, low priority.
 * @param withoutAddress whether an interface without an address counts
 */
export function selectInterfaces<Interface extends SelectableInterface>(
  interfaces: readonly Interface[],
  { exclude, primary, lowPriority }: NicPatterns,
  withoutAddress: boolean,
): Interface[] {
  const isExcluded = matcher(exclude);
  const isPrimary = matcher(primary);
  const isLow = matcher(lowPriority);
  const rankOf = ({ name }: Interface) => (isPrimary(name) ? 0 : isLow(name) ? 2 : 1);
  return interfaces
    .filter(({ name, up, loopback }) => up && !loopback && !isExcluded(name))
    .filter(({ addresses }) => withoutAddress || addresses.length > 0)
    .map((each) => ({ each, rank: rankOf(each) }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ each }) => each);
}

/** Whether a name matches one of the patterns. */
export function matcher(patterns: string): (name: string) => boolean {
  const expressions = patterns
    .split(',')
    .map((pattern) => pattern.trim())
    .filter((pattern) => pattern !== '')
    .map(expressionOf);
  return (name) => expressions.some((expression) => expression.test(name));
}

const POSIX_CLASS = /^\[:(\w+):\]/;
const CLASSES: Readonly<Record<string, string>> = {
  alnum: 'A-Za-z0-9',
  alpha: 'A-Za-z',
  digit: '0-9',
  lower: 'a-z',
  upper: 'A-Z',
  punct: '!-\\/:-@\\[-`{-~',
  xdigit: 'A-Fa-f0-9',
};

function expressionOf(pattern: string): RegExp {
  let source = '';
  let rest = pattern;
  while (rest !== '') {
    const set = /^\[([!^]?)(\]?(?:\[:\w+:\]|[^\]])*)\]/.exec(rest);
    const [first = ''] = rest;
    if (first === '*') {
      // several in a row mean no more than one, and would be slow
      source += '.*';
      rest = rest.replace(/^\*+/, '');
    } else if (first === '?') {
      source += '.';
      rest = rest.slice(1);
    } else if (set !== null) {
      source += setExpression(set[1] !== '', set[2] ?? '');
      rest = rest.slice(set[0].length);
    } else {
      const isQuoted = first === '\\' && rest.length > 1;
      source += escaped(isQuoted ? (rest[1] ?? '') : first);
      rest = rest.slice(isQuoted ? 2 : 1);
    }
  }
  return new RegExp(`^${source}$`, 's');
}

function setExpression(isNegated: boolean, content: string): string {
  let inside = '';
  let rest = content;
  while (rest !== '') {
    const named = POSIX_CLASS.exec(rest);
    const range = /^(.)-(.)/s.exec(rest);
    if (named !== null) {
      inside += CLASSES[named[1] ?? ''] ?? '';
      rest = rest.slice(named[0].length);
    } else if (range !== null) {
      const [whole, from = '', to = ''] = range;
      // a range the wrong way round holds nothing
      if (from <= to) inside += `${escaped(from)}-${escaped(to)}`;
      rest = rest.slice(whole.length);
    } else {
      inside += escaped(rest[0] ?? '');
      rest = rest.slice(1);
    }
  }
  if (inside === '') return isNegated ? '.' : '(?!)';
  return `[${isNegated ? '^' : ''}${inside}]`;
}

const escaped = (character: string) => character.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&');
