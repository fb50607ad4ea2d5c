/**
 * JobIDs: numbers by which a host asks for the jobs that it has started. No number comes twice, also not after a restart: the
 * first one that is free is kept in a file, ahead by a block of them.
 */
import { promises as fs } from 'node:fs';
import { dirname } from 'node:path';
import type { Log } from '../../../log.ts';

export interface JobIds {
  /** Not while frozen. Never rejects. */
  next(): Promise<number>;
}

const BLOCK = 100;
const CONTENT = /^chr-agent job ids 1\nfree (\d{1,15})\n$/;

export function openJobIds(path: string, log: Log, nowMs: () => number = Date.now): JobIds {
  let free = 0;
  let limit = 0;
  let turn: Promise<number> = Promise.resolve(0);

  /** Above all that were given out when nobody knows which these were. */
  const farAhead = (): number => Math.floor(nowMs() / 1000);

  async function load(): Promise<number> {
    let text: string;
    try {
      text = await fs.readFile(path, 'latin1');
    } catch (error) {
      if (isMissing(error)) return 1;
      log.warning(`${path}: ${String(error)}; JobIDs go on far ahead`);
      return farAhead();
    }
    const number = Number(CONTENT.exec(text)?.[1]);
    if (Number.isSafeInteger(number) && number > 0) return number;
    log.warning(`${path}: damaged, kept as ${path}.damaged; JobIDs go on far ahead`);
    await fs.rename(path, `${path}.damaged`).catch(() => undefined);
    return farAhead();
  }

  async function reserve(): Promise<void> {
    if (limit === 0) free = await load();
    limit = free + BLOCK;
    try {
      await replaceDurably(path, `chr-agent job ids 1\nfree ${limit}\n`);
    } catch (error) {
      log.warning(`${path}: ${String(error)}; JobIDs may come twice after a restart`);
    }
  }

  return {
    next() {
      turn = turn.then(async () => {
        if (free >= limit) await reserve();
        free += 1;
        return free - 1;
      });
      return turn;
    },
  };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

async function replaceDurably(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  {
    await using file = await fs.open(temporary, 'w', 0o600);
    await file.writeFile(text);
    await file.sync();
  }
  await fs.rename(temporary, path);
  await using directory = await fs.open(dirname(path), 'r');
  await directory.sync();
}
