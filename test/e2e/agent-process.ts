/**
 * The agent as the guest's administrator sees it: its process, its files, its log. Everything goes by the console, so it works
 * also while the agent is stopped, dead, or has frozen the root file system.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type AgentSettings, agentConfig } from './agent-config.ts';
import { agentName } from './environment.ts';
import type { Guest } from './guest.ts';

/** What `pidof` knows it by. */
export const AGENT_PROGRAM = agentName === 'chr-agent' ? '/usr/lib/chr-agent/dist/node' : '/usr/sbin/qemu-ga';
export const AGENT_LOG = '/var/log/agent.log';
/** tmpfs: stays writable whatever is frozen. */
export const HOOKS_LOG = '/run/hooks.log';
const HOOKS_DIR = '/etc/chr-agent/hooks';
/** From the start of the agent. */
const ANSWER_LIMIT_MS = 60_000;
const REBOOT_LIMIT_MS = 180_000;

/** Runs shell in the guest, lines joined. @returns its output @throws Error if it fails */
export async function shell(guest: Guest, script: string, timeoutMs?: number): Promise<string> {
  const line = script.trim().replace(/\s*\n\s*/g, ' ');
  const { status, output } = await guest.console.run(line, timeoutMs);
  if (status !== 0) throw new Error(`exit status ${status} of "${line}" in the guest: ${output}`);
  return output.trim();
}

/** Writes a small file (some KiB). @param mode as chmod takes it */
export async function putFile(
  guest: Guest,
  path: string,
  content: string | Buffer,
  mode = '644',
): Promise<void> {
  const encoded = Buffer.from(content).toString('base64');
  const directory = path.slice(0, path.lastIndexOf('/'));
  // mkdir waits for the thaw even if the directory is there
  await shell(
    guest,
    `[ -d ${directory} ] || mkdir -p ${directory};
     echo ${encoded} | base64 -d > ${path} && chmod ${mode} ${path}`,
  );
}

export async function agentPid(guest: Guest): Promise<number> {
  return Number(await shell(guest, `pidof ${AGENT_PROGRAM}`));
}

/** Sends it a signal that ends it, and waits until it is gone; fastinit starts it again a second later. */
export async function endAgent(guest: Guest, signal: 'TERM' | 'KILL'): Promise<void> {
  await shell(
    guest,
    `p=$(pidof ${AGENT_PROGRAM}); kill -${signal} $p; n=0;
     while [ -e /proc/$p/exe ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done; test $n -lt 100`,
  );
}

/** Changes what can be changed in a running agent. Waits until that is in force. */
export async function reconfigure(guest: Guest, settings: AgentSettings): Promise<void> {
  await putFile(guest, '/etc/chr-agent/agent.toml', agentConfig(settings));
  // an agent that has just been started misses the first one
  await shell(
    guest,
    `c() { grep -c 'configuration reloaded' ${AGENT_LOG}; }; b=$(c); n=0;
     while [ $(c) = $b ] && [ $n -lt 100 ]; do
     [ $((n % 20)) != 0 ] || kill -HUP $(pidof ${AGENT_PROGRAM}); sleep 0.1; n=$((n + 1)); done;
     test $n -lt 100 || { tail -n 20 ${AGENT_LOG}; false; }`,
  );
  // it may have opened its port anew, of which QEMU tells libvirt at most once a second
  await guest.waitForAnswer(ANSWER_LIMIT_MS);
}

/** Changes settings that need a restart, or that must hold in one. */
export async function restartWith(guest: Guest, settings: AgentSettings): Promise<void> {
  await putFile(guest, '/etc/chr-agent/agent.toml', agentConfig(settings));
  await endAgent(guest, 'TERM');
  await guest.waitForAnswer(ANSWER_LIMIT_MS);
}

/**
 * Does what makes the guest boot anew, and waits until it has and its agent answers.
 * @throws Error if it has not within the limit
 */
export async function seeReboot(guest: Guest, reboot: () => Promise<unknown>): Promise<void> {
  const bootId = () => shell(guest, 'cat /proc/sys/kernel/random/boot_id', 10_000);
  const before = await bootId();
  await reboot();
  const limit = performance.now() + REBOOT_LIMIT_MS;
  let now = before;
  while (now === before) {
    if (performance.now() > limit) throw new Error('the guest does not boot anew');
    await sleep(500);
    now = await bootId().catch(() => before); // nobody reads the console meanwhile
  }
  await guest.waitForAnswer();
}

/**
 * Whether a write to the root file system ends within the time: not while it is frozen. The writer itself hangs in the
 * kernel until the thaw.
 */
export async function rootIsWritable(guest: Guest, limitS: number): Promise<boolean> {
  const { status } = await guest.console.run(
    `rm -f /run/probe; (touch /var/probe && sync /var/probe && : > /run/probe) & n=0;
     while [ ! -e /run/probe ] && [ $n -lt ${limitS * 10} ]; do sleep 0.1; n=$((n + 1)); done; test -e /run/probe`.replace(
      /\s*\n\s*/g,
      ' ',
    ),
  );
  return status === 0;
}

/** After a test that failed half-way: nothing may stay frozen, the console itself would hang. */
export async function thawAnyway(guest: Guest): Promise<void> {
  const status = await guest.agent('guest-fsfreeze-status').catch(() => 'unknown');
  if (status !== 'thawed')
    await shell(guest, `fsfreeze -u ${DATA_MOUNT}; fsfreeze -u /; kill -KILL $(pidof ${AGENT_PROGRAM})`);
}

export type Hook = 'freeze' | 'freeze-fail' | 'thaw';

/** Each notes its name in {@link HOOKS_LOG}, then does the shell text given for it. */
export async function installHooks(guest: Guest, extra: Partial<Record<Hook, string>> = {}): Promise<void> {
  for (const name of ['freeze', 'freeze-fail', 'thaw'] as const) {
    const text = `#!/bin/sh\necho ${name} >> ${HOOKS_LOG}\n${extra[name] ?? ''}\n`;
    await putFile(guest, `${HOOKS_DIR}/${name}`, text, '755');
  }
  await forgetHooks(guest);
}

export async function removeHooks(guest: Guest): Promise<void> {
  await shell(guest, `rm -rf ${HOOKS_DIR} ${HOOKS_LOG}`);
}

/** Which hooks have run, in order, since {@link forgetHooks}. */
export async function hooksRun(guest: Guest): Promise<string[]> {
  const text = await shell(guest, `cat ${HOOKS_LOG}`);
  return text === '' ? [] : text.split('\n');
}

export async function forgetHooks(guest: Guest): Promise<void> {
  await shell(guest, `: > ${HOOKS_LOG}`);
}

/** Mounts the data disk, once. */
export async function mountDataDisk(guest: Guest): Promise<void> {
  await shell(
    guest,
    `mkdir -p ${DATA_MOUNT} &&
     { grep -q " ${DATA_MOUNT} " /proc/mounts || mount -t ext4 -o noatime /dev/vdb ${DATA_MOUNT}; }`,
  );
}

export const DATA_MOUNT = '/srv/data';
