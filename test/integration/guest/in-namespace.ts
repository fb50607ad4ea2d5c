/** Runs a piece of the guest module in another process: `node in-namespace.ts interfaces|tc ARGS…`, result as JSON on stdout. */
import { createActions } from '../../../src/guest/actions.ts';
import { networkInterfaces } from '../../../src/guest/network.ts';
import { native } from '../../../src/native/index.ts';

const [what, ...args] = process.argv.slice(2);
const ignore = () => {};
const log = { error: ignore, warning: ignore, info: ignore, debug: ignore };

async function answer(): Promise<unknown> {
  if (what === 'interfaces') return networkInterfaces(native);
  const actions = createActions({ native, log, noActions: true, testRoot: null });
  try {
    const result = await actions.changeQdisc(args);
    return result.kind === 'exited' ? { code: result.code, output: result.output.toString() } : result;
  } catch (error) {
    return { refused: error instanceof Error ? error.message : String(error) };
  }
}

const text = JSON.stringify(await answer(), (_key, value: unknown) =>
  typeof value === 'bigint' ? Number(value) : value,
);
process.stdout.write(text);
