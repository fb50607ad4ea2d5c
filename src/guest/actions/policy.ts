/**
 * Which actions a run with CHR_AGENT_NO_ACTIONS=1 (development, tests, benchmarks) may not take: a pure function of the
 * action and of facts about where it would happen. Without that flag everything is allowed.
 */

export type PowerMode = 'powerdown' | 'halt' | 'reboot';
/** To disk, to RAM, or to both. */
export type SuspendMode = 'disk' | 'ram' | 'hybrid';

/** An action as the policy sees it: what it is, with the facts that decide. */
export type Action =
  | { kind: 'power'; mode: PowerMode }
  | { kind: 'suspend'; mode: SuspendMode }
  | { kind: 'set-clock' }
  | { kind: 'slew-clock' }
  | { kind: 'sync-hardware-clock' }
  | { kind: 'freeze' | 'thaw'; mountPoint: string; deviceMajor: number }
  | { kind: 'trim'; mountPoint: string }
  | { kind: 'cpu' | 'memory-block'; number: number; online: boolean }
  | { kind: 'set-password'; user: string }
  | { kind: 'write-authorized-keys'; home: string; insideTestRoot: boolean }
  /** `outsideInitial`: whether the network namespace is surely not the machine's initial one. */
  | { kind: 'change-qdisc'; outsideInitial: boolean };

/** Linux's block device major number of loop devices. */
const LOOP_MAJOR = 7;

/** An action that this run must not take. The message says which, and why. */
export class ActionRefused extends Error {
  override name = 'ActionRefused';
}

/** The reason why a run without actions refuses this one, or null if it is harmless. */
export function refusal(action: Action): string | null {
  switch (action.kind) {
    case 'power':
      return action.mode === 'reboot' ? 'reboot the machine' : 'shut the machine down';
    case 'suspend':
      return `suspend the machine (${action.mode})`;
    case 'set-clock':
      return "set the machine's clock";
    case 'slew-clock':
      return "change the rate of the machine's clock";
    case 'sync-hardware-clock':
      return 'synchronise the hardware clock';
    case 'freeze':
    case 'thaw':
      if (action.deviceMajor === LOOP_MAJOR) return null;
      return `${action.kind} ${action.mountPoint}, which is not on a loop device`;
    case 'trim':
      return null;
    case 'cpu':
      return action.online ? null : `take CPU ${action.number} offline`;
    case 'memory-block':
      return action.online ? null : `take memory block ${action.number} offline`;
    case 'set-password':
      return `change the password of ${JSON.stringify(action.user)}`;
    case 'write-authorized-keys':
      return action.insideTestRoot ? null : `change ssh keys in ${action.home}, outside the test root`;
    case 'change-qdisc':
      return action.outsideInitial
        ? null
        : "change queueing disciplines in the machine's initial network namespace";
    default:
      return action satisfies never;
  }
}

/**
 * The facts of a change-qdisc action.
 *
 * @param self identity of this process' network namespace, null if unreadable
 * @param initial the same of process 1
 */
export function isOwnNamespace(self: string | null, initial: string | null): boolean {
  return self !== null && initial !== null && self !== initial;
}
