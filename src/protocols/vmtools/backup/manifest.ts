/** The quiesce manifest, which tells the host how the guest was made fit for the snapshot (spec vmware.md section 8). */
import { promises as fs } from 'node:fs';
import type { FreezeGate } from '../../../guest/freeze-gate.ts';
import type { Log } from '../../../log.ts';

export function manifestText(versionNumber: number): string {
  const lines = [
    '<quiesceManifest>',
    `   <productVersion>${versionNumber}</productVersion>`,
    '   <providerName>fifreeze</providerName>',
    '</quiesceManifest>',
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/** @returns whether the host can have it. A guest without the tools' directory has no manifest. */
export async function writeManifest(
  path: string,
  text: string,
  gate: FreezeGate,
  log: Log,
): Promise<boolean> {
  try {
    await gate.pass(() => fs.writeFile(path, text));
    return true;
  } catch (error) {
    log.debug(`${path}: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}
