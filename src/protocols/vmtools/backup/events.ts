/**
 * What the host is told of a quiesce operation, and the sign of life when it has heard nothing for a while
 * (spec vmware.md section 8): a host takes a guest that is silent for 5 s for hung.
 */
import type { Log } from '../../../log.ts';
import { RpcRefused } from '../channel-errors.ts';
import type { Rpci } from '../rpc.ts';
import type { SetTimer } from '../timer.ts';

export type BackupEventName =
  | 'reset'
  | 'prov.snapshotCommit'
  | 'req.genericManifest'
  | 'req.aborted'
  | 'req.error'
  | 'req.keepAlive'
  | 'req.done';

export const CODE = {
  SUCCESS: 0,
  SCRIPT_ERROR: 2,
  SYNC_ERROR: 3,
  REMOTE_ABORT: 4,
  UNEXPECTED_ERROR: 5,
} as const;

export interface BackupEvents {
  /** One after the other. Never rejects. @returns whether the host has taken it */
  send(name: BackupEventName, code?: number, text?: string): Promise<boolean>;
  /** `req.done`, the last one: no sign of life comes after it. */
  finish(): Promise<void>;
  /** Without a word. */
  close(): void;
}

export interface BackupEventsOptions {
  readonly rpci: Pick<Rpci, 'request'>;
  readonly log: Log;
  readonly setTimer: SetTimer;
  /** The host did not take a sign of life: it does not know of the operation any more. */
  onForgotten(): void;
}

/** Half of the time after which a host loses its patience. */
const KEEP_ALIVE_MS = 2_500;
/** Begins a refusal that the same request with raised I/O privilege does not get. */
const NOT_PRIVILEGED = 'Guest is not privileged';

export function createBackupEvents({ rpci, log, setTimer, onForgotten }: BackupEventsOptions): BackupEvents {
  let privileged = false;
  let isFinished = false;
  let cancelKeepAlive = (): void => undefined;
  let last: Promise<unknown> = Promise.resolve();

  function send(name: BackupEventName, code: number = CODE.SUCCESS, text = ''): Promise<boolean> {
    const mine = last.then(() => tell(name, `vmbackup.eventSet ${name} ${code} ${text}`));
    last = mine;
    return mine;
  }

  async function tell(name: BackupEventName, request: string): Promise<boolean> {
    cancelKeepAlive();
    try {
      await ask(request);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      log.warning(`the host did not take the backup event ${name}: ${why}`);
      return false;
    }
    // what is sent at the end must not be followed by anything
    if (!isFinished) cancelKeepAlive = setTimer(() => void keepAlive(), KEEP_ALIVE_MS);
    return true;
  }

  async function ask(request: string): Promise<void> {
    try {
      await rpci.request(request, { privileged });
    } catch (error) {
      if (privileged || !(error instanceof RpcRefused) || !error.message.startsWith(NOT_PRIVILEGED))
        throw error;
      privileged = true;
      await rpci.request(request, { privileged });
    }
  }

  async function keepAlive(): Promise<void> {
    if (!isFinished && !(await send('req.keepAlive'))) onForgotten();
  }

  return {
    send,
    async finish() {
      isFinished = true;
      await send('req.done');
    },
    close() {
      isFinished = true;
      cancelKeepAlive();
    },
  };
}
