/** The benchmark's result: as a table for people, and as JSON for the chart and for later comparison. */
import type { Machine } from './machine.ts';
import { missFactor, type Row, ratioText, type Spread, targetText } from './row.ts';

export interface CaseResult {
  readonly name: string;
  readonly rows: readonly Row[];
}

export interface Result {
  readonly machine: Machine;
  readonly mode: 'full' | 'short';
  readonly rounds: number;
  readonly cases: readonly CaseResult[];
}

const HEADINGS = [
  '',
  'unit',
  'ours',
  '(min..max)',
  'peer',
  '(min..max)',
  'ratio',
  'client alone',
  'target',
  '',
];

export function formatMachine({ machine, mode, rounds }: Result): string {
  const { cpu, cores, memoryGib, kernel, node, chrAgent, qemuGa, loadAtStart } = machine;
  return [
    `${cpu}, ${cores} cores, ${memoryGib} GiB, Linux ${kernel}, load ${loadAtStart} at the start`,
    `ours: ${chrAgent} on Node.js ${node}; peer: ${qemuGa ?? 'none'}`,
    `${mode} run, medians of ${rounds} rounds; ratio: how many times better than the peer`,
    '',
  ].join('\n');
}

/** One case's rows as a table; ends in a newline. */
export function formatRows(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    row.name,
    row.unit,
    figure(row.ours.median),
    range(row.ours),
    row.peer === null ? '-' : figure(row.peer.spread.median),
    row.peer === null
      ? ''
      : range(row.peer.spread) + (row.peer.name === 'qemu-ga' ? '' : ` ${row.peer.name}`),
    ratioText(row),
    row.clientAlone === null ? '' : figure(row.clientAlone),
    targetText(row),
    verdict(row),
  ]);
  const widths = HEADINGS.map((heading, column) =>
    Math.max(heading.length, ...cells.map((line) => (line[column] ?? '').length)),
  );
  const isUsed = HEADINGS.map((_heading, column) => cells.some((line) => line[column] !== ''));
  const format = (line: readonly string[]) =>
    line
      .map((cell, column) => cell[column === 0 ? 'padEnd' : 'padStart'](widths[column] ?? 0))
      .filter((_cell, column) => isUsed[column])
      .join('  ')
      .trimEnd();
  const lines = [format(HEADINGS)];
  cells.forEach((line, index) => {
    lines.push(format(line));
    const note = rows[index]?.note;
    if (note) lines.push(`    ${note}`);
  });
  return `${lines.join('\n')}\n`;
}

export function verdict(row: Row): string {
  const factor = missFactor(row);
  if (row.target === null) return '';
  if (factor === null) return 'no peer';
  return factor <= 1 ? 'ok' : `MISSED by ${Number.isFinite(factor) ? `${factor.toFixed(2)}x` : 'all'}`;
}

/** The JSON of a result, with figures rounded to what they mean. */
export function toJson(result: Result): string {
  const round = (_key: string, value: unknown) =>
    typeof value === 'number' ? Number(value.toPrecision(5)) : value;
  return `${JSON.stringify(result, round, 1)}\n`;
}

function range({ min, max }: Spread): string {
  return `(${figure(min)}..${figure(max)})`;
}

/** Three digits that mean something. */
function figure(value: number): string {
  if (value === 0) return '0';
  const magnitude = Math.abs(value);
  if (magnitude >= 100) return Math.round(value).toLocaleString('en-US').replaceAll(',', ' ');
  return value.toFixed(magnitude >= 10 ? 1 : magnitude >= 0.1 ? 2 : 3);
}
