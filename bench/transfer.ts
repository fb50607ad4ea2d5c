/** Files over the channel, chunk by chunk: what the throughput and the memory cases share. */
import { rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from './client.ts';
import { readRequest, request, rewindRequest, writeRequest } from './requests.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

export type Direction = 'write' | 'read';

export interface Transfer {
  /** Moves the whole file `passes` times. @returns seconds, without the seeks between passes */
  run(passes: number): Promise<number>;
  /** Closes and removes the file. @throws if the agent left it in another size */
  close(): Promise<void>;
}

export interface TransferOptions {
  client: Client;
  direction: Direction;
  directory: string;
  fileBytes: number;
  /** Divides the file's size. */
  chunkBytes: number;
}

/** Opens a file of its own through the agent. */
export async function openTransfer(options: TransferOptions): Promise<Transfer> {
  const { client, direction, directory, fileBytes, chunkBytes } = options;
  const path = join(directory, `transfer-${process.pid}-${Math.random().toString(36).slice(2)}`);
  if (direction === 'read') fill(path, fileBytes);
  const opened = await client.exchange({
    request: request('guest-file-open', { path, mode: direction === 'read' ? 'r' : 'w+' }),
  });
  const handle = handleOf(opened.first);
  const one = direction === 'read' ? readRequest(handle, chunkBytes) : writeRequest(handle, chunkBytes);
  const chunks = fileBytes / chunkBytes;
  return {
    async run(passes) {
      let seconds = 0;
      for (let pass = 0; pass < passes; pass += 1) {
        const moved = await client.exchange({ request: one, count: chunks });
        if (moved.first.includes('"error"')) throw new Error(`the agent refused: ${moved.first}`);
        if (direction === 'read' && moved.receivedBytes < (fileBytes * 4) / 3)
          throw new Error(`only ${moved.receivedBytes} bytes came for ${fileBytes}`);
        seconds += moved.seconds;
        await client.exchange({ request: rewindRequest(handle) });
      }
      return seconds;
    },
    async close() {
      await client.exchange({ request: request('guest-file-close', { handle }) });
      const { size } = statSync(path);
      rmSync(path);
      if (size !== fileBytes) throw new Error(`the file has ${size} bytes instead of ${fileBytes}`);
    },
  };
}

/** Writes the file, so that it is in the page cache. */
function fill(path: string, bytes: number): void {
  const piece = Buffer.allocUnsafe(MIB);
  for (let at = 0; at < piece.length; at += 1) piece[at] = (at * 31 + (at >> 8)) & 0xff;
  writeFileSync(path, '');
  for (let at = 0; at < bytes; at += piece.length) writeFileSync(path, piece, { flag: 'a' });
  truncateSync(path, bytes);
}

function handleOf(reply: string): number {
  const handle = /"return":\s*(\d+)/.exec(reply)?.[1];
  if (handle === undefined) throw new Error(`guest-file-open: ${reply}`);
  return Number(handle);
}
