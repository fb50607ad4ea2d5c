/** The system as a whole: time, names, shutdown (spec qemu-ga.md section 5). */
import { QapiError } from '../errors.ts';
import { type CommandResult, command, SILENT } from '../registry.ts';
import { int, optional, str } from '../schema.ts';
import { performed, requireSuccess } from './actions.ts';
import type { QgaContext } from './context.ts';

const NS_PER_SECOND = 1_000_000_000n;
const NS_PER_MICROSECOND = 1_000n;
/** Years from 1970 to 2069 are what qemu-ga takes for a time. */
const FIRST_INVALID_SECOND = BigInt(Date.UTC(2070, 0) / 1000);

export const systemCommands = [
  command({
    name: 'guest-get-time',
    since: '1.5',
    doc: 'The system time in ns since 1970 UTC, to the microsecond.',
    args: {},
    returns: 'int',
    run: (_args, { guest }: QgaContext) => {
      const now = guest.clock.now();
      return now - (now % NS_PER_MICROSECOND);
    },
  }),
  command({
    name: 'guest-set-time',
    since: '1.5',
    doc: 'Sets the system time, and the hardware clock by it; without a time sets it by the hardware clock.',
    args: { time: optional(int, 'ns since 1970 UTC') },
    returns: 'nothing',
    run: async ({ time }, { guest, native }: QgaContext) => {
      if (time === undefined) {
        const read = await performed(() => guest.actions.syncHardwareClock('from-rtc'));
        requireSuccess(read, 'set hardware clock to system time', native);
        return undefined;
      }
      // a timeval, as qemu-ga makes it: both parts cut towards zero
      const seconds = time / NS_PER_SECOND;
      const microseconds = (time % NS_PER_SECOND) / NS_PER_MICROSECOND;
      if (seconds < 0n || seconds >= FIRST_INVALID_SECOND) throw new QapiError('Invalid time');
      const nanoseconds = seconds * NS_PER_SECOND + microseconds * NS_PER_MICROSECOND;
      const result = await performed(() => guest.actions.setRealTimeClock(nanoseconds));
      if (result < 0) throw new QapiError(`Failed to set time to guest: ${native.errorText(-result)}`);
      const written = await performed(() => guest.actions.syncHardwareClock('to-rtc'));
      requireSuccess(written, 'set hardware clock to system time', native);
      return undefined;
    },
  }),
  command({
    name: 'guest-get-host-name',
    since: '2.10',
    doc: "The guest's host name.",
    args: {},
    returns: '{host-name}',
    run: (_args, { guest }: QgaContext) => ({ 'host-name': guest.hostname() }),
  }),
  command({
    name: 'guest-get-timezone',
    since: '2.10',
    doc: 'The time zone that holds now.',
    args: {},
    returns: '{zone?, offset: seconds east of UTC}',
    run: (_args, { guest }: QgaContext) => {
      const { abbreviation, offsetSeconds } = guest.clock.timeZone();
      return { zone: abbreviation, offset: offsetSeconds };
    },
  }),
  command({
    name: 'guest-get-osinfo',
    since: '2.10',
    doc: 'Kernel and distribution.',
    args: {},
    returns:
      '{kernel-release?, kernel-version?, machine?, id?, name?, pretty-name?, version?, version-id?, variant?, variant-id?}',
    run: (_args, { guest }: QgaContext) => {
      const facts = guest.os();
      const { release } = facts;
      return {
        'kernel-release': facts.kernelRelease,
        'kernel-version': facts.kernelVersion,
        machine: facts.machine,
        id: release.get('ID'),
        name: release.get('NAME'),
        'pretty-name': release.get('PRETTY_NAME'),
        version: release.get('VERSION'),
        'version-id': release.get('VERSION_ID'),
        variant: release.get('VARIANT'),
        'variant-id': release.get('VARIANT_ID'),
      };
    },
  }),
  command({
    name: 'guest-shutdown',
    since: '0.15',
    doc: 'Shuts the guest down; answers only if that fails.',
    args: { mode: optional(str, 'powerdown (default), halt or reboot') },
    returns: 'nothing',
    repliesOnSuccess: false,
    run: async ({ mode = 'powerdown' }, { guest, native }: QgaContext): Promise<CommandResult> => {
      if (mode !== 'powerdown' && mode !== 'halt' && mode !== 'reboot') {
        // qemu-ga's text, which has no closing parenthesis
        throw new QapiError('mode is invalid (valid values are: halt|powerdown|reboot');
      }
      const result = await performed(() => guest.actions.power(mode));
      requireSuccess(result, 'shutdown', native);
      return SILENT;
    },
  }),
];
