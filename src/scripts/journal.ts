/**
 * The job journal: what a restarted daemon knows of the jobs of earlier ones. An append-only file with one JSON object a
 * line, rewritten when it has grown (design.md idea 6). Nothing here fails a job: a journal that cannot be written is
 * reported once, and the daemon goes on without.
 */
import { promises as fs, mkdirSync, readFileSync, renameSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { FreezeGate } from '../guest/freeze-gate.ts';
import type { Log } from '../log.ts';
import { errnoOf } from './files.ts';
import type { JobOutcome } from './job.ts';

/** One job as the journal has it. */
export interface JournalJob {
  id: string;
  pid: number;
  origin: string;
  startedAtMs: number;
  /** {@link JobRequest.note}. */
  note?: string;
  /** Absent while it runs. */
  end?: { outcome: JobOutcome; endedAtMs: number };
}

export interface Journal {
  /** Jobs of earlier daemons, oldest first; what had not ended then is `lost`. */
  readonly recovered: readonly JournalJob[];
  /** Resolves when the line is in the file, or at once while file systems are frozen. */
  started(job: JournalJob): Promise<void>;
  ended(id: string, outcome: JobOutcome, endedAtMs: number): void;
  forgotten(id: string): void;
  /** Writes what waits (unless frozen) and closes the file. */
  close(): Promise<void>;
}

export interface JournalOptions {
  /** The state directory; made if it is missing. */
  directory: string;
  gate: FreezeGate;
  log: Log;
  nowMs: () => number;
  /** The file is rewritten beyond this size, if at least half of it is outdated. */
  compactBytes?: number;
  /** Jobs that are taken over from earlier daemons; the newest count. */
  maxRecovered?: number;
}

const FILE_NAME = 'jobs.journal';
const VERSION = 1;
const HEADER = `${JSON.stringify({ journal: VERSION })}\n`;
const ENOENT = 2;

/** Reads what an earlier daemon left. The file is rewritten when there is something new to say. */
export function openJournal(options: JournalOptions): Journal {
  const { directory, gate, log, nowMs, compactBytes = 64 * 1024, maxRecovered = 1000 } = options;
  const path = join(directory, FILE_NAME);
  let file: FileHandle | null = null;
  let sizeBytes = 0;
  /** The size of the file when it was last rewritten. */
  let compactedBytes = 0;
  let broken = false;

  let isClosed = false;
  let wasDamaged = false;

  const jobs = load();
  const recovered = [...jobs.values()];

  let waiting: { line: string; written: () => void }[] = [];
  let writing: Promise<void> | null = null;
  const stopThaw = gate.onThaw(() => void flush());
  if (wasDamaged) writing = gate.pass(compact).catch(reportBroken).then(writeWaiting);

  function load(): Map<string, JournalJob> {
    let text = '';
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      text = readFileSync(path, 'utf8');
    } catch (error) {
      if (errnoOf(error) !== ENOENT) reportBroken(error);
    }
    const { jobs: found, damaged } = replay(text);
    wasDamaged = damaged > 0;
    if (wasDamaged) {
      const aside = `${path}.damaged`;
      log.warning(`${path}: ${damaged} damaged lines, the file is kept as ${aside}`);
      try {
        renameSync(path, aside);
      } catch (error) {
        reportBroken(error);
      }
    }
    for (const job of found.values()) job.end ??= { outcome: { kind: 'lost' }, endedAtMs: nowMs() };
    for (const id of [...found.keys()].slice(0, Math.max(0, found.size - maxRecovered))) found.delete(id);
    return found;
  }

  /** Writes a new file with what still counts, and puts it in the old one's place. */
  async function compact(): Promise<void> {
    const text = HEADER + [...jobs.values()].map(jobLines).join('');
    const temporary = `${path}.new`;
    const next = await fs.open(temporary, 'w', 0o600);
    try {
      await next.writeFile(text);
      await next.sync();
      await fs.rename(temporary, path);
      const parent = await fs.open(directory, 'r');
      await parent.sync().finally(() => parent.close());
    } catch (error) {
      await next.close();
      throw error;
    }
    await file?.close();
    // the position is at the end, since this is the descriptor that wrote it
    file = next;
    sizeBytes = compactedBytes = Buffer.byteLength(text);
  }

  function append(line: string): Promise<void> {
    if (broken) return Promise.resolve();
    const written = Promise.withResolvers<void>();
    waiting.push({ line, written: written.resolve });
    if (gate.frozen) return Promise.resolve();
    void flush();
    return written.promise;
  }

  /** Writes all that waits, one write at a time. */
  function flush(): Promise<void> {
    if (writing === null && waiting.length > 0 && !gate.frozen) writing = writeWaiting();
    return writing ?? Promise.resolve();
  }

  async function writeWaiting(): Promise<void> {
    while (waiting.length > 0 && !gate.frozen) {
      const batch = waiting;
      waiting = [];
      const text = batch.map(({ line }) => line).join('');
      await gate.pass(() => write(text)).catch(reportBroken);
      for (const { written } of batch) written();
    }
    writing = null;
  }

  async function write(text: string): Promise<void> {
    if (isClosed) return;
    // a new file has all that is known, this text too
    if (file === null || (sizeBytes > compactBytes && sizeBytes > 2 * compactedBytes)) return compact();
    await file.writeFile(text);
    sizeBytes += Buffer.byteLength(text);
  }

  function reportBroken(error: unknown): void {
    if (broken) return;
    broken = true;
    const why = error instanceof Error ? error.message : String(error);
    log.warning(`job journal is off, a restart will not know of these jobs: ${why}`);
  }

  return {
    recovered,
    started(job) {
      jobs.set(job.id, { ...job });
      return append(startLine(job));
    },
    ended(id, outcome, endedAtMs) {
      const job = jobs.get(id);
      if (job === undefined) return;
      job.end = { outcome, endedAtMs };
      void append(endLine(id, outcome, endedAtMs));
    },
    forgotten(id) {
      if (jobs.delete(id)) void append(`${JSON.stringify({ event: 'forgotten', id })}\n`);
    },
    async close() {
      stopThaw();
      await flush();
      isClosed = true;
      await file?.close().catch(() => undefined);
      file = null;
    },
  };
}

// --- lines

const startLine = ({ id, pid, origin, startedAtMs, note }: JournalJob): string =>
  `${JSON.stringify({ event: 'started', id, pid, origin, atMs: startedAtMs, note })}\n`;
const endLine = (id: string, outcome: JobOutcome, atMs: number): string =>
  `${JSON.stringify({ event: 'ended', id, outcome, atMs })}\n`;
const jobLines = (job: JournalJob): string =>
  startLine(job) + (job.end === undefined ? '' : endLine(job.id, job.end.outcome, job.end.endedAtMs));

/** The jobs that a journal's text tells of, oldest first, and how many of its lines make no sense. Exported for tests. */
export function replay(text: string): { jobs: Map<string, JournalJob>; damaged: number } {
  const jobs = new Map<string, JournalJob>();
  let damaged = 0;
  for (const [at, line] of text.split('\n').entries()) {
    if (line === '' || (at === 0 && `${line}\n` === HEADER)) continue;
    if (!replayLine(line, jobs)) damaged += 1;
  }
  return { jobs, damaged };
}

function replayLine(line: string, jobs: Map<string, JournalJob>): boolean {
  const event = parseObject(line);
  if (event === null || typeof event.id !== 'string') return false;
  const { id, atMs } = event;
  if (event.event === 'forgotten') {
    jobs.delete(id);
    return true;
  }
  if (typeof atMs !== 'number') return false;
  if (event.event === 'started') {
    const { pid, origin, note } = event;
    if (typeof pid !== 'number' || !Number.isInteger(pid) || pid <= 0 || typeof origin !== 'string')
      return false;
    jobs.set(id, { id, pid, origin, startedAtMs: atMs, ...(typeof note === 'string' && { note }) });
    return true;
  }
  const outcome = event.event === 'ended' ? asOutcome(event.outcome) : null;
  if (outcome === null) return false;
  const job = jobs.get(id);
  // the start may be what was damaged
  if (job !== undefined) job.end = { outcome, endedAtMs: atMs };
  return true;
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return null;
  }
}

function asObject(value: unknown): Record<string, unknown> | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  return Object.fromEntries(Object.entries(value));
}

function asOutcome(value: unknown): JobOutcome | null {
  const outcome = asObject(value);
  switch (outcome?.kind) {
    case 'success':
    case 'timed-out':
    case 'lost':
      return { kind: outcome.kind };
    case 'failed':
      return typeof outcome.exitCode === 'number' ? { kind: 'failed', exitCode: outcome.exitCode } : null;
    case 'killed':
      return typeof outcome.signal === 'number' ? { kind: 'killed', signal: outcome.signal } : null;
    default:
      return null;
  }
}
