/** Processors and their load (spec qemu-ga.md section 5, guest-get-vcpus and following). */
import type { CpuSwitch, CpuTimes } from '../../../guest/cpus.ts';
import type { NativeAddon } from '../../../native/index.ts';
import { QapiError } from '../errors.ts';
import type { ReplyValue } from '../json/writer.ts';
import { command } from '../registry.ts';
import { bool, int, list, optional, required, struct } from '../schema.ts';
import { performed } from './actions.ts';
import type { QgaContext } from './context.ts';
import { readFact, systemCallText } from './system-calls.ts';

const vcpu = struct({
  'logical-id': required(int, 'number of the processor'),
  online: required(bool, 'the state to bring it to'),
  'can-offline': optional(bool, 'not used'),
});

export const processorCommands = [
  command({
    name: 'guest-get-vcpus',
    since: '1.5',
    doc: 'All processors, online or not.',
    args: {},
    returns: '[{logical-id, online, can-offline}]',
    run: async (_args, { guest, native }: QgaContext) => {
      const cpus = await readFact(() => guest.cpus(), native);
      return cpus.map(({ number, online, canOffline }) => ({
        'logical-id': number,
        online,
        'can-offline': canOffline,
      }));
    },
  }),
  command({
    name: 'guest-set-vcpus',
    since: '1.5',
    doc: 'Takes processors online or offline in the order of the list, until one fails.',
    args: { vcpus: required(list(vcpu), 'what to change') },
    returns:
      'int: how many at the start of the list are now as wanted; an error only if the first one failed',
    run: async ({ vcpus }, { guest, native }: QgaContext) => {
      let processed = 0;
      for (const { 'logical-id': number, online } of vcpus) {
        try {
          requireSwitched(await performed(() => guest.switchCpu(number, online)), number, native);
        } catch (error) {
          if (processed === 0 || !(error instanceof QapiError)) throw error;
          break;
        }
        processed += 1;
      }
      return processed;
    },
  }),
  command({
    name: 'guest-get-cpustats',
    since: '7.1',
    doc: 'What the processors spent their time on since boot, in ms.',
    args: {},
    returns:
      '[{type: "linux", cpu, user, nice, system, idle, iowait?, irq?, softirq?, steal?, guest?, guestnice?}]',
    run: async (_args, { guest, native }: QgaContext) =>
      (await readFact(() => guest.cpuTimes(), native)).map(cpuTimesReply),
  }),
  command({
    name: 'guest-get-load',
    since: '10.0',
    doc: 'Load averages.',
    args: {},
    returns: '{load1m, load5m, load15m}',
    run: async (_args, { guest, native }: QgaContext) => {
      const load = await readFact(() => guest.loadAverage(), native);
      return { load1m: load.oneMinute, load5m: load.fiveMinutes, load15m: load.fifteenMinutes };
    },
  }),
];

function requireSwitched(outcome: CpuSwitch, number: bigint, native: NativeAddon): void {
  switch (outcome.kind) {
    case 'done':
      return;
    case 'cannot-offline':
      throw new QapiError(`logical processor #${number} can't be offlined`);
    case 'failed':
      throw new QapiError(systemCallText(outcome.error, native));
  }
}

function cpuTimesReply(times: CpuTimes): ReplyValue {
  return {
    type: 'linux',
    cpu: times.cpu,
    user: times.userMs,
    nice: times.niceMs,
    system: times.systemMs,
    idle: times.idleMs,
    iowait: times.ioWaitMs,
    irq: times.irqMs,
    softirq: times.softIrqMs,
    steal: times.stealMs,
    guest: times.guestMs,
    guestnice: times.guestNiceMs,
  };
}
