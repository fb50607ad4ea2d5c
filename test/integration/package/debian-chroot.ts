/**
 * This machine's own Debian as a chroot: an overlay whose changes are in memory, in namespaces of its own (mounts, processes, network).
 * So dpkg, its tools and the packages that are in conflict are real, and nothing here can be changed.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface DebianChroot {
  /** Runs a shell script in it. @throws with its output if it fails */
  run(script: string): Promise<string>;
  /** Where `files` can be seen inside. */
  readonly filesDir: string;
  close(): Promise<void>;
}

const SETUP = `set -e
mount -t tmpfs -o mode=755 chroot "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
for place in run dev tmp; do mount -t tmpfs -o mode=1777 chroot "$1/root/$place"; done
mount -t proc proc "$1/root/proc"
for device in null zero full random urandom tty; do cp -a "/dev/$device" "$1/root/dev/"; done
mkdir "$1/root/tmp/files"
mount --bind "$2" "$1/root/tmp/files"
echo ready
# the init of its processes: it has to reap
while :; do sleep infinity & wait; done
`;

/** @param files a directory of this machine that is seen inside, as `filesDir` */
export async function openDebianChroot(files: string): Promise<DebianChroot> {
  const base = mkdtempSync(join(tmpdir(), 'chroot-'));
  const unshare = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--propagation', 'private'];
  const holder: ChildProcess = spawn('unshare', [...unshare, 'sh', '-c', SETUP, 'sh', base, files], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (holder.stdout === null || holder.pid === undefined) throw new Error('unshare does not start');
  for await (const line of createInterface({ input: holder.stdout })) if (line === 'ready') break;
  const child = await output('cat', [`/proc/${holder.pid}/task/${holder.pid}/children`]);
  const enter = ['--target', child.trim(), '--mount', '--net', '--pid', '--', 'chroot', join(base, 'root')];
  return {
    filesDir: '/tmp/files',
    run: (script) => output('nsenter', [...enter, 'sh', '-ec', `exec 2>&1\n${script}`]),
    async close() {
      const ended = new Promise((resolve) => holder.once('exit', resolve));
      holder.kill('SIGKILL'); // unshare ignores SIGTERM
      await ended;
      rmdirSync(base);
    },
  };
}

function output(program: string, args: readonly string[]): Promise<string> {
  const env = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    LC_ALL: 'C',
    DEBIAN_FRONTEND: 'noninteractive',
    CHR_AGENT_NO_ACTIONS: '1',
  };
  return new Promise((resolve, reject) => {
    execFile(
      program,
      args,
      { encoding: 'utf8', env, maxBuffer: 1 << 24, timeout: 50_000 },
      (error, stdout) => {
        if (error === null) resolve(stdout);
        else reject(new Error(`${error.message}\n${stdout}`));
      },
    );
  });
}
