/** The machine's own namespace, which is only read: the seam that would change something is a fake, or refuses. */
import { describe, expect, it } from 'vitest';
import { createActions } from '../../../src/guest/actions.ts';
import { native } from '../../../src/native/index.ts';
import { enforce } from '../../../src/shaper/enforcement.ts';
import { createRepairBudget } from '../../../src/shaper/pacing.ts';
import { recordingLog } from '../../support/quiet-log.ts';

const changes: unknown[] = [];
const log = recordingLog();
const fakeActions = {
  qdiscRefusal: (): string | null => 'do that',
  changeQdisc: (...call: unknown[]): number => {
    changes.push(call);
    return -1;
  },
};

function look(patterns: string[], actions = fakeActions) {
  return enforce(
    { native, actions, log, budget: createRepairBudget(), leaf: { best: 'bfifo' } },
    {
      namespace: null,
      level: 'free',
      patterns,
      // every Ethernet is taken for hardware
      evidence: { kernelNamesParents: false, hasSysfsDevice: () => true },
      lookAgainIn: () => undefined,
    },
  );
}

describe('an interface that is not limited', () => {
  it('because this run may not: nothing is tried', () => {
    for (const { enforcement, counters } of look(['*'])) {
      expect(enforcement).toEqual({
        state: 'not enforced',
        kind: 'chosen',
        reason: 'this run may not do that',
      });
      expect(counters).toBeNull();
    }
    expect(changes).toEqual([]);
  });

  it('because the configuration leaves it out', () => {
    for (const { enforcement } of look(['no-such-interface']))
      expect(enforcement).toMatchObject({ state: 'not enforced', kind: 'chosen' });
    expect(changes).toEqual([]);
  });

  it('because the kernel refuses', () => {
    const willing = { ...fakeActions, qdiscRefusal: () => null };
    for (const { enforcement } of look(['*'], willing))
      expect(enforcement).toMatchObject({
        state: 'not enforced',
        kind: 'problem',
        reason: expect.stringMatching(/^the kernel refuses tbf: /),
      });
  });
});

it('the seam refuses in the initial namespace', () => {
  const actions = createActions({ native, log, noActions: true, testRoot: null });
  expect(actions.qdiscRefusal(null)).toMatch(/initial network namespace/);
  const unhurt = createActions({ native, log, noActions: false, testRoot: null });
  expect(unhurt.qdiscRefusal(null)).toBeNull();
});
