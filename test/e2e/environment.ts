/**
 * What the real-guest test runs with, and whether it can run here at all: root, Debian packages, a built agent.
 *
 * - `CHR_E2E_AGENT`: the agent in the guest, `chr-agent` (default) or `qemu-ga` (Debian's, to compare with)
 * - `CHR_E2E_DIR`: cache of the base image (default `.cache/e2e` in the project)
 * - `CHR_E2E_TRANSCRIPT`: where every virsh command and its output goes (default `transcript.txt` in the cache)
 * - `CHR_AGENT_LONG=1`: the long run: boots systemd, moves 1 GiB, runs Ansible
 * - `CI=true`: what would be skipped is a failure
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

export type AgentName = 'chr-agent' | 'qemu-ga';

export const projectDir = path.resolve(import.meta.dirname, '../..');
export const cacheDir = path.resolve(process.env.CHR_E2E_DIR ?? path.join(projectDir, '.cache/e2e'));
export const transcriptFile = process.env.CHR_E2E_TRANSCRIPT ?? path.join(cacheDir, 'transcript.txt');
export const longRun = process.env.CHR_AGENT_LONG === '1';
export const agentName: AgentName = readAgentName(process.env.CHR_E2E_AGENT ?? 'chr-agent');

/** libvirt and QEMU to run the guest; mmdebstrap, cpio, kmod and lz4 to build it. */
const packages = [
  ...['libvirt-daemon-system', 'libvirt-clients', 'qemu-system-x86', 'e2fsprogs', 'util-linux'],
  ...['mmdebstrap', 'cpio', 'kmod', 'lz4'],
];

/** For the long run: a client that takes minutes to install. */
const longRunPackages = ['ansible', 'python3-libvirt'];

function readAgentName(name: string): AgentName {
  if (name === 'chr-agent' || name === 'qemu-ga') return name;
  throw new Error(`CHR_E2E_AGENT must be chr-agent or qemu-ga, not ${name}`);
}

/**
 * Installs what is missing.
 * @returns why the real guest cannot run here; undefined if it can.
 */
function findObstacle(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return 'the guest is built on x86-64 Linux only';
  if (process.getuid?.() !== 0) return 'must be root to build the guest and run libvirtd';
  try {
    execFileSync('unshare', ['--mount', '--net', 'true'], { stdio: 'ignore' });
  } catch {
    return 'mount and network namespaces are not allowed here';
  }
  try {
    execFileSync(
      path.join(projectDir, 'scripts/need-packages'),
      longRun ? [...packages, ...longRunPackages] : packages,
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
  } catch (error) {
    return `packages are missing and cannot be installed: ${error instanceof Error ? error.message : error}`;
  }
  if (agentName === 'chr-agent' && !existsSync(path.join(projectDir, 'dist/.complete'))) {
    return 'there is no dist/ to install in the guest: run make build';
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
  if (process.env.CI === 'true') throw new Error(`the real-guest test cannot run: ${obstacle}`);
  console.warn(`the real-guest test is skipped: ${obstacle}`);
  return obstacle;
}
