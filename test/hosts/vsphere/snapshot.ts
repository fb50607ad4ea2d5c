/** How a host takes a quiesced snapshot; vmware.md section 8. */
import type { Vmx } from '../vmx/vmx.ts';

export type SnapshotOutcome = { kind: 'taken' } | { kind: 'failed'; fault: string; reason: string };

export interface SnapshotOptions {
  /** Without it the guest hears nothing of the snapshot. */
  readonly quiesce: boolean;
  /** While the guest is frozen. */
  readonly copy?: () => Promise<void>;
  readonly timeoutMs?: number;
}

const ANY_END = /^vmbackup\.eventSet (prov\.snapshotCommit|req\.(error|aborted|done)) /;
const DONE = /^vmbackup\.eventSet req\.done /;

export async function takeSnapshot(
  vmx: Vmx,
  { quiesce, copy = async () => undefined, timeoutMs = 60_000 }: SnapshotOptions,
): Promise<SnapshotOutcome> {
  if (!quiesce) {
    await copy();
    return { kind: 'taken' };
  }
  const from = vmx.mark();
  const started = await vmx.command('vmbackup.start 0');
  if (!started.ok) return failed(started.text);
  const { args } = await vmx.waitForRpc(ANY_END, { from, timeoutMs });
  if (args.startsWith('prov.snapshotCommit')) {
    await copy();
    const done = await vmx.command('vmbackup.snapshotDone');
    await vmx.waitForRpc(DONE, { from, timeoutMs });
    if (!done.ok) return failed(done.text);
  } else {
    await vmx.waitForRpc(DONE, { from, timeoutMs });
  }
  const events = vmx.rpci.calls.slice(from).filter(({ name }) => name === 'vmbackup.eventSet');
  const bad = events.find(({ args }) => /^req\.(error|aborted) /.test(args));
  return bad === undefined ? { kind: 'taken' } : failed(bad.args);
}

const failed = (reason: string): SnapshotOutcome => ({
  kind: 'failed',
  fault: 'ApplicationQuiesceFault',
  reason,
});
