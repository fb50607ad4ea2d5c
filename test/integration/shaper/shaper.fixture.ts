/**
 * A shaper as a process: `node shaper.fixture.ts LEVEL PATTERN…`. A line on stdin is a command: a level, `freeze`, `thaw`, `tick`, or
 * `show`, which is answered by a line with the status as JSON on stdout; log lines come there too.
 */
import { createInterface } from 'node:readline';
import { createActions } from '../../../src/guest/actions.ts';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import { isLevel } from '../../../src/license/levels.ts';
import { native } from '../../../src/native/index.ts';
import { createShaper } from '../../../src/shaper/shaper.ts';

const say = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
const line = (severity: string) => (text: string) => say({ severity, text });
const log = { error: line('error'), warning: line('warning'), info: line('info'), debug: line('debug') };

const [level = 'unknown', ...patterns] = process.argv.slice(2);
const gate = createFreezeGate();
let tick = (): void => undefined;
const shaper = createShaper({
  native,
  log,
  gate,
  // whatever the test runner says: this may touch nothing outside of its namespaces
  actions: createActions({ native, log, noActions: true, testRoot: null }),
  clock: {
    onTick(listener) {
      tick = listener;
      return () => undefined;
    },
  },
  level: isLevel(level) ? level : null,
  patterns,
});
say({ ready: true });

createInterface({ input: process.stdin }).on('line', (command) => {
  if (isLevel(command)) shaper.setLevel(command);
  else if (command === 'freeze') void gate.shut();
  else if (command === 'thaw') gate.open();
  else if (command === 'tick') tick();
  else if (command === 'show') void shaper.status().then((status) => say({ status }));
});
