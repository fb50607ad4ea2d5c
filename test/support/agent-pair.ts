/**
 * Debian's qemu-ga and `chr-agent qemu-ga` side by side, in one sandbox in which neither can act on this machine: mount and network
 * namespaces of their own, the programs for power, clock and passwords replaced by /bin/true, /sys read-only, a private
 * /etc, and without the capabilities for what no namespace holds back.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const SANDBOX = `
for program in /sbin/shutdown /sbin/poweroff /sbin/halt /sbin/reboot /sbin/hwclock /usr/sbin/chpasswd /bin/systemctl; do
  [ ! -e "$program" ] || mount --bind /bin/true "$(readlink -f "$program")" || exit 1
done
mount -o remount,ro,bind /sys || exit 1
cp -a /etc "$1/etc" && mount --bind "$1/etc" /etc || exit 1
ip link set lo up
cd /
unprivileged="setpriv --bounding-set=-sys_admin,-sys_boot,-sys_time --inh-caps=-sys_admin,-sys_boot,-sys_time"
$unprivileged /usr/sbin/qemu-ga -m unix-listen -p "$1/theirs/qga.sock" -t "$1/theirs" & theirs=$!
$unprivileged "$2" qemu-ga -m unix-listen -p "$1/ours/qga.sock" -t "$1/ours" & ours=$!
read -r _ # until the test closes this pipe
kill -9 $theirs
kill $ours
wait $ours
`;

export interface AgentPair {
  readonly theirs: string;
  readonly ours: string;
  /** For files that both may write. */
  readonly directory: string;
  stop(): Promise<void>;
}

export async function startAgentPair(): Promise<AgentPair> {
  const directory = mkdtempSync(join(tmpdir(), 'agent-pair-'));
  for (const name of ['theirs', 'ours']) mkdirSync(join(directory, name));
  const program = new URL('../../bin/chr-agent', import.meta.url).pathname;
  const sandbox = spawn(
    'unshare',
    ['--mount', '--net', '--propagation', 'private', 'sh', '-c', SANDBOX, 'sandbox', directory, program],
    { stdio: ['pipe', 'ignore', 'pipe'], env: { ...process.env, CHR_AGENT_NO_ACTIONS: '1' } },
  );
  let messages = '';
  sandbox.stderr.on('data', (data) => {
    messages += data;
  });
  const ended = new Promise<void>((resolve) => sandbox.once('exit', () => resolve()));
  const theirs = join(directory, 'theirs/qga.sock');
  const ours = join(directory, 'ours/qga.sock');
  for (let tries = 0; !existsSync(theirs) || !existsSync(ours); tries += 1) {
    if (tries > 500 || sandbox.exitCode !== null) throw new Error(`the agents did not start: ${messages}`);
    await delay(20);
  }
  return {
    theirs,
    ours,
    directory,
    async stop() {
      sandbox.stdin.end('\n');
      await ended;
      rmSync(directory, { recursive: true });
    },
  };
}
