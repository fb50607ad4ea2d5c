/**
 * The regression guard: a short run that fails on structure only, when a target is missed by more than a factor of two in three
 * tries. It looks at ratios to a peer on the same machine at the same time, at memory and at wake-ups, never at a time.
 */
import { formatRows } from './report.ts';
import { missFactor, type Row } from './row.ts';
import type { BenchCase, BenchContext } from './sides.ts';

const TRIES = 3;
const ALLOWED_FACTOR = 2;
/** What a target of "none at all" may be missed by: a stray wake-up is not a structure. */
const ALLOWED_ABOVE_ZERO = 5;

/** @returns the rows that were missed by too much in every try; each try prints its table */
export async function guard(
  cases: readonly BenchCase[],
  context: BenchContext,
  print: (text: string) => void,
): Promise<Row[]> {
  let left = cases.filter(({ isGuarded }) => isGuarded);
  let failed: Row[] = [];
  for (let attempt = 1; attempt <= TRIES && left.length > 0; attempt += 1) {
    const again: BenchCase[] = [];
    const before = failed;
    failed = [];
    for (const one of left) {
      const rows = await one.run(context);
      print(`${attempt > 1 ? `try ${attempt}: ` : ''}${one.name}\n${formatRows(rows)}\n`);
      // a row fails only if it failed in all tries before
      const bad = rows.filter(
        (row) => isStructural(row) && (attempt === 1 || before.some(({ name }) => name === row.name)),
      );
      failed.push(...bad);
      if (bad.length > 0) again.push(one);
    }
    left = again;
  }
  return failed;
}

function isStructural(row: Row): boolean {
  const { target, ours } = row;
  if (target === null || (target.kind === 'at-most' && target.isTime)) return false;
  if (target.kind === 'at-most' && target.limit === 0)
    return row.unit === 'failures' ? ours.median > 0 : ours.median > ALLOWED_ABOVE_ZERO;
  return (missFactor(row) ?? 0) > ALLOWED_FACTOR;
}
