/** Telling the host that a program of vmrun's has ended (spec vmware.md section 7.8). */
import type { FreezeGate } from '../../../guest/freeze-gate.ts';
import type { Tell } from '../tell.ts';

/** Of a program's or a script's options: the host does not wait for the end. */
const RETURN_IMMEDIATELY = 1;

export type RunReport = (run: {
  readonly requestId: string;
  readonly options: number;
  readonly pid: number;
  /** Resolves at the end, with the exit code. */
  readonly ended: Promise<number>;
}) => void;

export function createRunReport(tell: Tell, gate: FreezeGate): RunReport {
  return ({ requestId, options, pid, ended }) => {
    if ((options & RETURN_IMMEDIATELY) !== 0) return;
    void ended.then(async (exitCode) => {
      await gate.whenThawed();
      await tell(`Run_Program_Done ${requestId} 0 0 ${exitCode} ${pid}`);
    });
  };
}
