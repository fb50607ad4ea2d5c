/** The guest's disk: a base image kept in the cache, and one run's root disk with the agent installed in it. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { type AgentName, cacheDir, projectDir } from './environment.ts';

const execute = promisify(execFile);
const vmDir = path.join(import.meta.dirname, 'vm');
/** Tells whether it was given arguments or the variable NAME. */
const helloScript = `#!/bin/sh
name=$NAME
echo "hello from \${name:-a file}$*"
`;
const ROOT_DISK_SIZE = '3G'; // sparse; the long run puts 1 GiB on it
const DATA_DISK_SIZE = '256M';

/** How the guest starts each agent; CHR_AGENT_NO_ACTIONS is not set there, since it is the guest's own clock and power. */
const startScripts: Record<AgentName, string> = {
  'chr-agent': 'exec /usr/bin/chr-agent run',
  'qemu-ga':
    'exec /usr/sbin/qemu-ga --method=virtio-serial --path=/dev/virtio-ports/org.qemu.guest_agent.0 --statedir=/run',
};

/**
 * Builds the base image unless one of the same recipe is in the cache (about a minute; others are removed).
 * @returns its folder: `rootfs/`, `vmlinux`, `initrd`.
 */
export async function baseImage(): Promise<string> {
  const recipe = createHash('sha256');
  const files = [
    'build-image',
    ...(await readdir(path.join(vmDir, 'guest'))).sort().map((file) => `guest/${file}`),
  ];
  for (const file of files) recipe.update(await readFile(path.join(vmDir, file)));
  const image = path.join(cacheDir, `image-${recipe.digest('hex').slice(0, 12)}`);
  if (existsSync(image)) return image;
  await mkdir(cacheDir, { recursive: true });
  for (const old of await readdir(cacheDir)) {
    if (old.startsWith('image-')) await rm(path.join(cacheDir, old), { recursive: true, force: true });
  }
  const unfinished = `${image}.${process.pid}`;
  await execute(path.join(vmDir, 'build-image'), [unfinished], { maxBuffer: 64 << 20 });
  await rename(unfinished, image);
  return image;
}

/** Changes the guest's root file system, in a directory; its files are hard links: what is changed must be a new file. */
export type Install = (root: string) => Promise<void>;

/**
 * An agent as a user would install it.
 * @param config text of /etc/chr-agent/agent.toml
 */
export function installAgent(agent: AgentName, config: string): Install {
  return async (root) => {
    if (agent === 'chr-agent') {
      const home = path.join(root, 'usr/lib/chr-agent');
      await mkdir(home, { recursive: true });
      await execute('cp', ['-r', path.join(projectDir, 'bin'), path.join(projectDir, 'dist'), home]);
      await symlink('../lib/chr-agent/bin/chr-agent', path.join(root, 'usr/bin/chr-agent'));
      await mkdir(path.join(root, 'etc/chr-agent'), { recursive: true });
      await writeFile(path.join(root, 'etc/chr-agent/agent.toml'), config);
    }
    await writeFile(path.join(root, 'etc/e2e/hello'), helloScript);
    const start = path.join(root, 'etc/e2e/agent');
    await writeFile(start, `#!/bin/sh\n${startScripts[agent]}\n`);
    await chmod(start, 0o755);
  };
}

/** Makes `root.raw` in runDir from the base image. */
export async function rootDisk(image: string, runDir: string, install: Install): Promise<string> {
  const root = path.join(runDir, 'root');
  await execute('cp', ['-al', path.join(image, 'rootfs'), root]);
  await install(root);
  const disk = path.join(runDir, 'root.raw');
  await makeExt4(disk, ROOT_DISK_SIZE, '-d', root);
  await rm(root, { recursive: true });
  return disk;
}

/** Makes `data.raw` in runDir: an empty ext4. */
export async function dataDisk(runDir: string): Promise<string> {
  const disk = path.join(runDir, 'data.raw');
  await makeExt4(disk, DATA_DISK_SIZE);
  return disk;
}

async function makeExt4(disk: string, size: string, ...options: string[]): Promise<void> {
  const lazily = ['-E', 'lazy_itable_init=1,lazy_journal_init=1'];
  await execute('mke2fs', ['-q', '-t', 'ext4', '-m', '0', ...lazily, ...options, disk, size], {
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
}
