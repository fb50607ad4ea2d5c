/** What the guest's kernel says of memory and of the agent's process, read by a script that the agent runs. */
import type { Agent } from './agent.ts';

const MIB = 1024 * 1024;

export interface Memory {
  /** Of the daemon; `startTicks` tells it from a later one of the same number. */
  readonly pid: number;
  readonly startTicks: number;
  readonly residentMib: number;
  readonly peakResidentMib: number;
  readonly privateDirtyMib: number;
  readonly totalMib: number;
  readonly freeMib: number;
  readonly availableMib: number;
  /** Read from the root partition since the boot: what grows when programs' pages are dropped and read again. */
  readonly rootReadMib: number;
}

// the script's parent is the helper, whose parent is the daemon
const SCRIPT = `read -r _ _ _ daemon _ < /proc/$PPID/stat
echo "stat $(cat /proc/$daemon/stat)"
echo "disk $(cat /sys/class/block/vda2/stat)"
cat /proc/meminfo /proc/$daemon/status /proc/$daemon/smaps_rollup
`;

export async function readMemory(agent: Agent): Promise<Memory> {
  const text = await agent.run(SCRIPT);
  const kilobytes = (name: string): number => {
    const match = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text);
    if (match === null) throw new Error(`no ${name} in: ${text}`);
    return Number(match[1]) / 1024;
  };
  // proc(5): the name may hold blanks, what follows it does not
  const stat = /^stat (\d+) \(.*\) (.*)$/m.exec(text);
  const pid = Number(stat?.[1]);
  const startTicks = Number(stat?.[2]?.split(' ')[19]);
  // Documentation/block/stat: the third figure is sectors read
  const sectors = Number(/^disk\s+\d+\s+\d+\s+(\d+)/m.exec(text)?.[1]);
  return {
    pid,
    startTicks,
    residentMib: kilobytes('VmRSS'),
    peakResidentMib: kilobytes('VmHWM'),
    privateDirtyMib: kilobytes('Private_Dirty'),
    totalMib: kilobytes('MemTotal'),
    freeMib: kilobytes('MemFree'),
    availableMib: kilobytes('MemAvailable'),
    rootReadMib: (sectors * 512) / MIB,
  };
}

/** What the kernel said about memory running out; empty if it never did. */
export async function memoryAlarms(agent: Agent, consoleText: string): Promise<string[]> {
  const log = await agent.run('dmesg');
  return `${consoleText}\n${log}`
    .split('\n')
    .filter((line) => /out of memory|oom-kill|allocation failure|invoked oom/i.test(line));
}

/** 16 MB: what the issue allows. */
export const DIRTY_LIMIT_MIB = 16e6 / MIB;
