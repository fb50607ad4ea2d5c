/** Runs a piece of the guest module in another process: `node in-namespace.ts interfaces|limit NAME`, result as JSON on stdout. */
import { createActions } from '../../../src/guest/actions.ts';
import {
  parseAcknowledgement,
  qdiscRequest,
  TC_ROOT,
  tbfOptions,
} from '../../../src/guest/linux/netlink-tc.ts';
import { networkInterfaces } from '../../../src/guest/network.ts';
import { native } from '../../../src/native/index.ts';

const [what, name] = process.argv.slice(2);
const ignore = () => {};
const log = { error: ignore, warning: ignore, info: ignore, debug: ignore };

async function answer(): Promise<unknown> {
  if (what === 'interfaces') return networkInterfaces(native);
  const actions = createActions({ native, log, noActions: true, testRoot: null });
  try {
    const link = networkInterfaces(native).find((one) => one.name === name);
    const options = tbfOptions({ rateBytesPerSecond: 125_000, burstBytes: 10_240, limitBytes: 32_000 });
    const request = qdiscRequest(
      { change: 'put', linkIndex: link?.index ?? 0, handle: 0, parent: TC_ROOT, kind: 'tbf', options },
      1,
    );
    const result = actions.changeQdisc(null, request);
    return typeof result === 'number' ? result : parseAcknowledgement(result);
  } catch (error) {
    return { refused: error instanceof Error ? error.message : String(error) };
  }
}

const text = JSON.stringify(await answer(), (_key, value: unknown) =>
  typeof value === 'bigint' ? Number(value) : value,
);
process.stdout.write(text);
