/** What the running daemon tells of itself over the control socket, and its form for people (`chr-agent status`). */

import type { Level } from '../license/levels.ts';
import type { LicenseState } from '../license/lifecycle.ts';
import type { ProtocolName } from './detect.ts';

/** `waiting`: its device is not there yet; `listening`: ready; `connected`: a listening socket has its client, or the store is reached; `failed`: tried again later. */
export type ProtocolState = 'off' | 'waiting' | 'listening' | 'connected' | 'failed';

export interface ProtocolStatus {
  readonly name: ProtocolName;
  readonly state: ProtocolState;
  /** Where it listens, or why it is off or failed. */
  readonly detail: string;
}

export interface Status {
  readonly version: string;
  readonly pid: number;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  /** As the detection names it. */
  readonly hypervisor: string;
  readonly protocols: readonly ProtocolStatus[];
  readonly jobs: { readonly running: number; readonly finished: number };
  readonly frozen: boolean;
  /** null: this daemon keeps none (`chr-agent qemu-ga`). */
  readonly license: { readonly level: Level; readonly state: LicenseState } | null;
  readonly memory: { readonly residentBytes: number; readonly heapBytes: number };
}

/** A table for people; ends in a newline. */
export function formatStatus(status: Status): string {
  const mebibytes = (bytes: number) => `${(bytes / 1_048_576).toFixed(1)} MiB`;
  return (
    formatTable([
      ['version', status.version],
      ['process', String(status.pid)],
      ['started', status.startedAt],
      ['hypervisor', status.hypervisor],
      ['file systems', status.frozen ? 'frozen' : 'thawed'],
      ...(status.license === null ? [] : [['license', licenseWords(status.license)]]),
      ['scripts', `${status.jobs.running} running, ${status.jobs.finished} finished`],
      [
        'memory',
        `${mebibytes(status.memory.residentBytes)} resident, ${mebibytes(status.memory.heapBytes)} heap`,
      ],
    ]) +
    '\n' +
    formatTable([
      ['PROTOCOL', 'STATE', 'DETAIL'],
      ...status.protocols.map(({ name, state, detail }) => [name, state, detail]),
    ])
  );
}

function licenseWords({ level, state }: { level: Level; state: LicenseState }): string {
  return state === 'free' ? 'free' : `${level} (${state})`;
}

/** Left-aligned columns, two spaces apart; one line a row. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    });
  }
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
  return lines.map((line) => `${line.trimEnd()}\n`).join('');
}
