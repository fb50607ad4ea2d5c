/**
 * What the real-Xen test runs with, and whether it can run here: root, Debian packages, a built agent. Images are made once and kept in
 * `CHR_XEN_DIR` (default `.cache/xen`), with the console's text of the last run.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

export const projectDir = path.resolve(import.meta.dirname, '../../..');
export const cacheDir = path.resolve(process.env.CHR_XEN_DIR ?? path.join(projectDir, '.cache/xen'));
export const imageDir = path.join(cacheDir, 'image');

const packages = [
  ...['qemu-system-x86', 'xen-utils-4.17', 'xenstore-utils', 'busybox-static', 'socat', 'cpio', 'kmod'],
  ...['lz4', 'xz-utils', 'zstd', 'iproute2', 'e2fsprogs', 'util-linux'],
];

function findObstacle(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the guest is for x86-64 Linux only';
  if (process.getuid?.() !== 0) return 'must be root to install what it needs';
  if (!existsSync(path.join(projectDir, 'dist/.complete'))) return 'there is no dist/: run make build';
  try {
    const needPackages = path.join(projectDir, 'scripts/need-packages');
    execFileSync(needPackages, packages, { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    return `packages are missing and cannot be installed: ${error instanceof Error ? error.message : error}`;
  }
  return undefined;
}

/**
 * @returns the reason to skip the test, printed too; undefined if it can run.
 * @throws Error with that reason in CI, where it must run in the long run.
 */
export function reasonToSkip(): string | undefined {
  // CI has one boot, the real guest's
  if (process.env.CHR_AGENT_LONG !== '1')
    return 'it belongs to the long run: make test-long or make test-xen';
  const obstacle = findObstacle();
  if (obstacle === undefined) return undefined;
  if (process.env.CI === 'true') throw new Error(`the Xen test cannot run: ${obstacle}`);
  console.warn(`the Xen test is skipped: ${obstacle}`);
  return obstacle;
}

/** Makes the images, unless those of the same recipe are there (half a minute). */
export async function buildImages(): Promise<void> {
  const script = path.join(projectDir, 'test/e2e/xen/image/build');
  const stamp = path.join(imageDir, 'recipe');
  const recipe = await recipeOf(path.dirname(script));
  if (existsSync(stamp) && (await readFile(stamp, 'utf8')) === recipe) return;
  execFileSync(script, [imageDir], { stdio: ['ignore', 'ignore', 'inherit'] });
  await writeFile(stamp, recipe);
}

async function recipeOf(dir: string): Promise<string> {
  const names = [
    'build',
    ...['cmdserver', 'dom0-init', 'domu-init', 'vif-point', 'block-loop'].map((name) => `guest/${name}`),
  ];
  return (await Promise.all(names.map((name) => readFile(path.join(dir, name), 'utf8')))).join('\0');
}
