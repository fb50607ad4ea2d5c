/**
 * Draws a result as SVG: how many times better than qemu-ga, a bar for each row, on a logarithmic axis.
 * `node bench/chart.ts bench/results/FILE.json > docs/bench.svg`
 */
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { Result } from './report.ts';
import { advantage, type Row } from './row.ts';

const WIDTH = 900;
const LABEL_WIDTH = 420;
const AXIS_WIDTH = WIDTH - LABEL_WIDTH - 70;
const ROW_HEIGHT = 26;
const BAR_HEIGHT = 14;
const TOP = 64;
const TICKS = [0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128];

/** The first colours are readable on white and on black; a viewer that knows its reader's scheme takes better ones. */
const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #768390 }
  .title { font-size: 16px; font-weight: 600 }
  .small { font-size: 11px }
  .grid { stroke: #8c959f; stroke-opacity: .35 }
  .one { stroke: #8c959f; stroke-width: 1.5 }
  .better { fill: #2f81f7 }
  .worse { fill: #d1732b }
  .target { stroke: #a371f7; stroke-width: 2.5 }
  @media (prefers-color-scheme: light) { text { fill: #57606a } .title { fill: #24292f } .target { stroke: #8250df } }
  @media (prefers-color-scheme: dark) { text { fill: #b1bac4 } .title { fill: #f0f6fc } .target { stroke: #c297ff } }`;

export function chart(result: Result): string {
  const bars = result.cases.flatMap(({ rows }) => rows).flatMap(toBar);
  const ratios = bars.flatMap(({ ratio, target }) => (target === null ? [ratio] : [ratio, target]));
  const low = TICKS.findLast((tick) => tick <= Math.min(1, ...ratios)) ?? TICKS[0] ?? 0.1;
  const high = TICKS.find((tick) => tick >= Math.max(2, ...ratios)) ?? Math.max(...ratios);
  const x = (ratio: number) =>
    LABEL_WIDTH + (Math.log(Math.max(ratio, low) / low) / Math.log(high / low)) * AXIS_WIDTH;
  const bottom = TOP + bars.length * ROW_HEIGHT;
  const { machine } = result;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom + 48}" role="img">`,
    `<title>chr-agent compared with qemu-ga</title><style>${STYLE}</style>`,
    `<text class="title" x="12" y="26">chr-agent beside qemu-ga: how many times better</text>`,
    '<text class="small" x="12" y="44">logarithmic; right of 1 is better; the upright mark is the target</text>',
  ];
  for (const tick of TICKS.filter((value) => value >= low && value <= high)) {
    const at = x(tick).toFixed(1);
    parts.push(
      `<line class="${tick === 1 ? 'one' : 'grid'}" x1="${at}" x2="${at}" y1="${TOP - 6}" y2="${bottom}"/>`,
      `<text class="small" x="${at}" y="${bottom + 16}" text-anchor="middle">${tick}x</text>`,
    );
  }
  bars.forEach(({ name, ratio, target }, index) => {
    const top = TOP + index * ROW_HEIGHT;
    const [from, to] = [Math.min(x(1), x(ratio)), Math.max(x(1), x(ratio))];
    const middle = top + BAR_HEIGHT - 2;
    parts.push(
      `<text x="${LABEL_WIDTH - 12}" y="${middle}" text-anchor="end">${escapeXml(name)}</text>`,
      `<rect class="${ratio >= 1 ? 'better' : 'worse'}" x="${from.toFixed(1)}" y="${top}" width="${Math.max(1, to - from).toFixed(1)}" height="${BAR_HEIGHT}" rx="2"/>`,
      `<text x="${(Math.max(to, target === null ? 0 : x(target)) + 8).toFixed(1)}" y="${middle}">${ratio.toFixed(ratio < 10 ? 1 : 0)}x</text>`,
    );
    if (target !== null) {
      const at = x(target).toFixed(1);
      parts.push(`<line class="target" x1="${at}" x2="${at}" y1="${top - 3}" y2="${top + BAR_HEIGHT + 3}"/>`);
    }
  });
  parts.push(
    `<text class="small" x="12" y="${bottom + 38}">${escapeXml(
      `${machine.date} · ${machine.cpu}, ${machine.cores} cores · Linux ${machine.kernel} · Node.js ${machine.node} · ${machine.qemuGa ?? ''}`,
    )}</text>`,
    '</svg>',
  );
  return `${parts.join('\n')}\n`;
}

interface Bar {
  readonly name: string;
  readonly ratio: number;
  readonly target: number | null;
}

/** Only what compares with qemu-ga by speed: a ratio of memory sizes or of near-zero counts says little. */
function toBar(row: Row): Bar[] {
  const ratio = advantage(row);
  if (ratio === null || row.peer?.name !== 'qemu-ga') return [];
  if (!['/s', 'pairs/s', 'MB/s', 'ms'].includes(row.unit)) return [];
  return [{ name: row.name, ratio, target: row.target?.kind === 'better' ? row.target.times : null }];
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [file] = process.argv.slice(2);
  if (file === undefined) {
    process.stderr.write('usage: node bench/chart.ts RESULT.json > CHART.svg\n');
    process.exitCode = 2;
  } else {
    process.stdout.write(chart(JSON.parse(readFileSync(file, 'utf8')) as Result));
  }
}
