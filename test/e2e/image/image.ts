/** The appliance image of packaging/build-image: built, or taken as it is if it was made from the same content. */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export const projectDir = path.resolve(import.meta.dirname, '../../..');
export const packagingDir = path.join(projectDir, 'packaging/image');

export interface Image {
  readonly dir: string;
  /** The raw disk. */
  readonly disk: string;
  /** Bytes by name: the formats, and what is in them. */
  readonly sizes: ReadonlyMap<string, number>;
}

/** Installs what is missing. @returns why the image cannot be built and booted here; undefined if it can. */
function findObstacle(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the image is for x86-64 Linux only';
  if (process.getuid?.() !== 0) return 'must be root to build the image';
  if (!existsSync(path.join(projectDir, 'dist/.complete'))) return 'there is no dist/: run make build';
  try {
    const packages = ['qemu-system-x86', 'qemu-utils', 'e2fsprogs', 'squashfs-tools', 'cpio'];
    execFileSync(path.join(projectDir, 'scripts/need-packages'), packages, {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  } catch (error) {
    return `packages are missing and cannot be installed: ${error instanceof Error ? error.message : error}`;
  }
  return undefined;
}

/**
 * @returns the reason to skip the test, printed too; undefined if it can run.
 * @throws Error with that reason in CI, where it must run.
 */
export function reasonToSkip(): string | undefined {
  const obstacle = findObstacle();
  if (obstacle === undefined) return undefined;
  if (process.env.CI === 'true') throw new Error(`the appliance image cannot be tested: ${obstacle}`);
  console.warn(`the appliance image's test is skipped: ${obstacle}`);
  return obstacle;
}

/** Builds unless build/image is of the same content (a minute or two). */
export async function buildImage(): Promise<Image> {
  const dir = path.join(projectDir, 'build/image');
  await execute(path.join(projectDir, 'packaging/build-image'), [dir], { maxBuffer: 64 << 20 });
  const sizes = new Map<string, number>();
  for (const line of (await readFile(path.join(dir, 'sizes'), 'utf8')).trim().split('\n')) {
    const [name, bytes] = line.split(' ');
    if (name !== undefined) sizes.set(name, Number(bytes));
  }
  return { dir, disk: path.join(dir, 'chr-agent.img'), sizes };
}
