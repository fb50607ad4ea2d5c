/**
 * A guest of the simulated host with nothing but the two channels: it answers `ask RPC` with what the host answered to that RPC,
 * `size N` with N bytes and `count TEXT` with the number of bytes; SIGTERM ends it in order.
 */
import { native } from '../../../src/native/index.ts';
import { probeBackdoor } from '../../../src/protocols/vmtools/backdoor.ts';
import { createHostLink } from '../../../src/protocols/vmtools/host-link.ts';
import { accepted } from '../../../src/protocols/vmtools/rpc.ts';
import { commandTable } from '../../../src/protocols/vmtools/tclo-commands.ts';
import { vsocketConnector } from '../../../src/protocols/vmtools/vsocket-connection.ts';

const say = (text: string) => void process.stdout.write(`${text}\n`);

const backdoor = probeBackdoor(native);
if (backdoor === null) {
  say('no VMware');
  process.exit(3);
}
say(`version ${backdoor.version} product ${backdoor.product} instruction ${backdoor.instruction}`);

const { rpci, tclo } = createHostLink({
  backdoor,
  connectVsocket: vsocketConnector(native),
  log: { error: say, warning: say, info: say, debug: say },
  onState: (state, kind) => say(`${state} ${kind}`),
});
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());

const handler = commandTable(
  {
    ask: async (request) => accepted(await rpci.request(request, { privileged: true })),
    size: async (count) => accepted('r'.repeat(Number(count))),
    count: async (bytes) => accepted(String(bytes.length)),
  },
  async () => {
    await rpci.reopen();
    await rpci.request('vmx.capability.unified_loop toolbox');
  },
);
await tclo.serve(handler, stop.signal);
await rpci.close();
say('ended');
