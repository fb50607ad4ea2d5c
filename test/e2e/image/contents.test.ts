/** What is in the appliance image, and what must not be: looked at without booting it. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { askData, listInitramfs, listRoot, type Partition, readPartitions, readRoot } from './disk.ts';
import { buildImage, type Image, packagingDir, reasonToSkip } from './image.ts';

const DISK_LIMIT_BYTES = 128_000_000;
const FORMATS = ['img', 'qcow2', 'vmdk', 'vdi', 'vhdx'];

const obstacle = reasonToSkip();
const title = `appliance image: contents${obstacle === undefined ? '' : ` (skipped: ${obstacle})`}`;

describe.skipIf(obstacle !== undefined)(title, () => {
  let image: Image;
  let boot: Partition;
  let root: Partition;
  let data: Partition;
  let rootFiles: string[];

  beforeAll(async () => {
    image = await buildImage();
    const partitions = await readPartitions(image.disk);
    expect(partitions.map(({ type }) => type)).toEqual([0x0e, 0x83, 0x83, 0]);
    [boot, root, data] = partitions as [Partition, Partition, Partition];
    rootFiles = await listRoot(image.disk, root);
    console.log([...image.sizes].map(([name, bytes]) => `${name}: ${bytes} bytes`).join('\n'));
  });

  it('is at most 128 MB, in five formats', () => {
    expect(image.sizes.get('chr-agent.img')).toBeLessThanOrEqual(DISK_LIMIT_BYTES);
    for (const format of FORMATS) {
      expect(image.sizes.get(`chr-agent.${format}`), format).toBeGreaterThan(0);
      expect(image.sizes.get(`chr-agent.${format}`), format).toBeLessThanOrEqual(DISK_LIMIT_BYTES);
    }
  });

  it('has an active boot partition and partitions on whole MiB', () => {
    expect(boot.active).toBe(true);
    for (const { offset, sizeBytes } of [boot, root, data])
      expect([offset % 2 ** 20, sizeBytes % 2 ** 20]).toEqual([0, 0]);
  });

  it('has the listed modules and all that they need', async () => {
    const listed = await listedModules();
    const modulesDir = path.posix.dirname(
      rootFiles.find((file) => file.endsWith('/modules.dep')) ?? 'no modules.dep',
    );
    const needs = parseDependencies(await readRoot(image.disk, root, `${modulesDir.slice(1)}/modules.dep`));
    const initramfs = new Set(
      (await listInitramfs(image.disk, boot)).map((file) => file.replace(/^.*\/kernel\//, 'kernel/')),
    );
    const inRoot = new Set(rootFiles);
    for (const name of [...listed.initramfs, ...listed.root]) {
      const found = [...needs.keys()].find((file) => moduleName(file) === moduleName(name));
      expect(found, name).toBeDefined();
      for (const file of [found ?? '', ...(needs.get(found ?? '') ?? [])]) {
        expect(inRoot.has(`${modulesDir}/${file}`), `${file} for ${name}`).toBe(true);
        if (listed.initramfs.includes(name)) expect(initramfs.has(file), `${file} for ${name}`).toBe(true);
      }
    }
  });

  it('has neither ids nor keys nor a random seed', async () => {
    const suspicious =
      /machine-id|system-id|host_.*key|random-?seed|\.(key|pem)$|authorized_keys|license\.state/;
    expect(rootFiles.filter((file) => suspicious.test(file) && !file.includes('license-keys.d'))).toEqual([]);
    // nothing but what mke2fs makes
    const names = (await askData(image.disk, data, 'ls -p /')).match(/[^/\n]+(?=\/\d*\/\n)/g) ?? [];
    expect(names.filter((name) => name !== '.' && name !== '..')).toEqual(['lost+found']);
  });

  it('lets admin, and nobody else, in without a password', async () => {
    const shadow = await readRoot(image.disk, root, 'etc/shadow');
    const open = shadow.split('\n').filter((line) => line.split(':')[1] === '');
    expect(open.map((line) => line.split(':')[0])).toEqual(['admin']);
  });
});

/** Names by the part of packaging/image/modules. */
async function listedModules(): Promise<{ initramfs: string[]; root: string[] }> {
  const names = { initramfs: [] as string[], root: [] as string[] };
  let part: keyof typeof names = 'initramfs';
  for (const line of (await readFile(path.join(packagingDir, 'modules'), 'utf8')).split('\n')) {
    if (line === '[initramfs]' || line === '[root]') part = line === '[root]' ? 'root' : 'initramfs';
    else if (line !== '' && !line.startsWith('#')) names[part].push(line);
  }
  return names;
}

/** modules.dep(5): what each module's file needs. */
function parseDependencies(text: string): Map<string, string[]> {
  const lines = text.trim().split('\n');
  return new Map(
    lines.map((line) => {
      const [file = '', needed = ''] = line.split(':');
      return [file, needed.split(' ').filter((name) => name !== '')];
    }),
  );
}

/** The kernel takes `-` and `_` for the same. */
function moduleName(file: string): string {
  return path.posix.basename(file, '.ko').replaceAll('-', '_');
}
