/** A directory that stands for `/`: what a machine's /proc, /sys and /run would hold. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';

export interface FakeRoot extends Disposable {
  readonly path: string;
  file(path: string, content: string): void;
  link(path: string, target: string): void;
  /** A block device: its directory in sysfs and the links to it. */
  block(device: BlockDevice): void;
}

export interface BlockDevice {
  /** Below /sys/devices; the last part is its name. */
  path: string;
  number: string;
  /** In sectors of 512 bytes. */
  size?: number;
  /** Paths of other devices. */
  slaves?: string[];
  /** Properties that udev has for it. */
  udev?: Record<string, string>;
  /** The number of a partition. */
  partition?: number;
}

export function fakeRoot(): FakeRoot {
  const root = mkdtempSync(join(tmpdir(), 'fake-root-'));

  function place(path: string): string {
    const full = join(root, path);
    mkdirSync(dirname(full), { recursive: true });
    return full;
  }
  const file = (path: string, content: string) => writeFileSync(place(path), content);
  // sysfs' links are relative too
  const link = (path: string, target: string) => symlinkSync(relative(dirname(path), target), place(path));

  return {
    path: root,
    file,
    link,
    block({ path, number, size = 2048, slaves, udev, partition }) {
      const device = join('/sys/devices', path);
      const name = device.slice(device.lastIndexOf('/') + 1);
      file(`${device}/uevent`, `MAJOR=1\nMINOR=2\nDEVNAME=${name}\nDEVTYPE=disk\n`);
      file(`${device}/dev`, `${number}\n`);
      file(`${device}/size`, `${size}\n`);
      link(`/sys/dev/block/${number}`, device);
      if (partition === undefined) {
        mkdirSync(join(root, device, 'slaves'));
        for (const slave of slaves ?? []) {
          link(`${device}/slaves/${slave.slice(slave.lastIndexOf('/') + 1)}`, join('/sys/devices', slave));
        }
        link(`/sys/block/${name}`, device);
      } else {
        file(`${device}/partition`, `${partition}\n`);
      }
      if (udev) {
        const lines = Object.entries(udev).map(([property, value]) => `E:${property}=${value}\n`);
        file(`/run/udev/data/b${number}`, `S:disk/by-uuid/1\nI:123\n${lines.join('')}G:systemd\n`);
      }
    },
    [Symbol.dispose]: () => rmSync(root, { recursive: true }),
  };
}
