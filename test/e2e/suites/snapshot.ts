/** `virsh snapshot-create-as --quiesce` while the guest writes: what the snapshot holds is consistent without any repair. */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  DATA_MOUNT,
  hooksRun,
  installHooks,
  mountDataDisk,
  putFile,
  removeHooks,
  shell,
} from '../agent-process.ts';
import { agentName } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { note } from '../libvirt.ts';

const execute = promisify(execFile);
const isChr = agentName === 'chr-agent';
const sbin = { env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } };

/** Records one after the other, each synced before it gets its name; and beside them a file of which nothing is synced. */
const writer = `#!/bin/sh
cd $1 && mkdir -p records || exit 1
(while [ ! -e /run/stop-writing ]; do head -c 3000000 /dev/urandom > bulk; done) &
n=0
while [ ! -e /run/stop-writing ]; do
  n=$((n + 1))
  echo "record $n" > new && sync new && mv new records/$n && echo $n > /run/written
done
`;

export function snapshotSuite(guest: () => Guest): void {
  describe('snapshot-create-as --disk-only --quiesce', { timeout: 120_000 }, () => {
    const waitForRecord = (count: number) =>
      shell(
        guest(),
        `until [ "$(cat /run/written 2> /dev/null || echo 0)" -ge ${count} ]; do sleep 0.1; done`,
      );
    const directory = () => path.dirname(guest().dataDisk);

    beforeAll(async () => {
      await mountDataDisk(guest());
      await putFile(guest(), '/run/snapshot-writer', writer, '755');
      await shell(guest(), 'rm -f /run/written /run/stop-writing');
      if (isChr) await installHooks(guest(), { freeze: `cat /run/written > ${DATA_MOUNT}/at-freeze` });
    });

    afterAll(async () => {
      await shell(guest(), ': > /run/stop-writing');
      if (isChr) await removeHooks(guest());
    });

    it('with writes going on leaves a clean file system with all that was written', async () => {
      await shell(guest(), `(setsid /run/snapshot-writer ${DATA_MOUNT} > /dev/null 2>&1 &)`);
      await waitForRecord(5);
      await guest().virsh(
        'snapshot-create-as',
        ...['--disk-only', '--quiesce', '--no-metadata', '--diskspec', 'vda,snapshot=no'],
        ...['--diskspec', `vdb,snapshot=external,file=${directory()}/overlay.qcow2`],
      );
      const atSnapshot = Number(await shell(guest(), 'cat /run/written'));
      expect(await guest().agent('guest-fsfreeze-status')).toBe('thawed');
      await waitForRecord(atSnapshot + 5); // it went on

      // what the guest writes now goes to the overlay
      const image = path.join(directory(), 'snapshot.raw');
      await copyFile(guest().dataDisk, image);
      const { stdout } = await execute('e2fsck', ['-f', '-n', image], sbin);
      expect(stdout).not.toMatch(/recover|WARNING|Fix\?|Clear\?/i);
      const content = path.join(directory(), 'snapshot');
      await mkdir(content);
      await execute('debugfs', ['-R', `rdump / ${content}`, image], sbin);
      const records = (await readdir(path.join(content, 'records'))).map(Number).sort((a, b) => a - b);
      note(`the snapshot has ${records.length} records; e2fsck: ${stdout.trim().split('\n').at(-1)}`);
      expect(records).toEqual(records.map((_, at) => at + 1));
      for (const record of records) {
        expect(await readFile(path.join(content, 'records', String(record)), 'utf8')).toBe(
          `record ${record}\n`,
        );
      }
      expect(records.length).toBeGreaterThanOrEqual(5);
      expect(records.length).toBeLessThanOrEqual(atSnapshot + 1);
      if (isChr) {
        // nothing that was done before the freeze is missing
        const atFreeze = Number(await readFile(path.join(content, 'at-freeze'), 'utf8'));
        expect(records.length).toBeGreaterThanOrEqual(atFreeze);
        expect(await hooksRun(guest())).toEqual(['freeze', 'thaw']);
      }
      await rm(content, { recursive: true });
    });

    it('is merged back', async () => {
      await shell(guest(), ': > /run/stop-writing');
      await guest().virsh('blockcommit', 'vdb', '--active', '--pivot', '--wait');
      await shell(
        guest(),
        `rm -rf ${DATA_MOUNT}/records ${DATA_MOUNT}/bulk ${DATA_MOUNT}/new ${DATA_MOUNT}/at-freeze`,
      );
    });
  });
}
