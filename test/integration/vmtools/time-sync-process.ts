/**
 * A guest of the simulated host that synchronises its clock, with the real actions: only to be run under the tracer, which answers
 * the system calls that set a clock.
 */
import { readFileSync } from 'node:fs';
import { createActions } from '../../../src/guest/actions.ts';
import { createClock } from '../../../src/guest/clock.ts';
import { native } from '../../../src/native/index.ts';
import { probeBackdoor } from '../../../src/protocols/vmtools/backdoor.ts';
import { createHostLink } from '../../../src/protocols/vmtools/host-link.ts';
import { setOptionCommand } from '../../../src/protocols/vmtools/options.ts';
import { commandTable } from '../../../src/protocols/vmtools/tclo-commands.ts';
import { createTimeSync } from '../../../src/protocols/vmtools/time-sync/time-sync.ts';

const say = (text: string) => void process.stdout.write(`${text}\n`);
const log = { error: say, warning: say, info: say, debug: () => undefined };

// the tracer's mark: a process that it traces has a tracer
const isTraced = /^TracerPid:\t[1-9]/m.test(readFileSync('/proc/self/status', 'utf8'));
const backdoor = isTraced ? probeBackdoor(native) : null;
if (backdoor === null) {
  say('not under the tracer: nothing is done');
  process.exit(3);
}

const timeSync = createTimeSync({
  backdoor,
  clock: createClock({ native, tzVariable: 'UTC' }),
  actions: createActions({ native, log, noActions: false, testRoot: null }),
  log,
  compat: process.argv.includes('upstream') ? 'upstream' : 'chr',
  backwardAllowed: process.argv.includes('backward'),
});
const { rpci, tclo } = createHostLink({ backdoor, connectVsocket: null, log });
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
const commands = { ...timeSync.commands, Set_Option: setOptionCommand([timeSync], log) };
await tclo.serve(
  commandTable(commands, async () => timeSync.onReset()),
  stop.signal,
);
await timeSync.stop();
await rpci.close();
