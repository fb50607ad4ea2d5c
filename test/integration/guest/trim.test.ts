/** FITRIM by way of the actions, on an ext4 in a loop device. Needs root and free loop devices. */
import { closeSync, openSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createActions } from '../../../src/guest/actions.ts';
import { native } from '../../../src/native/index.ts';
import { recordingLog } from '../../support/quiet-log.ts';
import { canMount, LoopMounts } from '../quiesce/loop-mounts.ts';

describe.skipIf(!canMount)('trimming a loop device', () => {
  let mounts: LoopMounts;
  let mountPoint: string;
  beforeAll(() => {
    mounts = new LoopMounts();
    mountPoint = mounts.add('trimmed');
  });
  afterAll(() => mounts.remove());

  it('tells how much', async () => {
    const actions = createActions({ native, log: recordingLog(), noActions: true, testRoot: null });
    const fd = openSync(mountPoint, 'r');
    try {
      expect(await actions.trim({ mountPoint, fd }, 0n)).toMatchObject({ trimmedBytes: expect.any(BigInt) });
    } finally {
      closeSync(fd);
    }
  });
});
