/**
 * The agent over real vsockets (spec vmware.md section 13): a bridge in the guest listens on them, by the kernel's loopback, and passes
 * everything on to the simulated host at the ports of the test transport.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { agentConfig } from '../agent-config.ts';
import { AGENT_LOG, endAgent, putFile, shell } from '../agent-process.ts';
import { agentName } from '../environment.ts';
import type { Guest } from '../guest.ts';
import { startVmtoolsHost, VMTOOLS_PORTS, type VmtoolsHost } from '../vmtools-host.ts';

const LIMIT = { timeoutMs: 60_000 };
const STARTER = '/etc/e2e/agent';
const BRIDGE = '/run/vsock-bridge';
/** One line for each connection: the service's port and the guest's own. */
const CONNECTIONS = '/run/vsock-connections';
/** VMADDR_CID_LOCAL. */
const LOOPBACK = 1;

/** One connection at a time for each service; what the host says meanwhile is for the next one. SIGUSR1 closes them. */
const bridgeProgram = `import os, select, signal, socket, threading
busy = socket.socket(socket.AF_VSOCK)
busy.bind((socket.VMADDR_CID_ANY, 1023))
open_now = {}

def serve(port, service):
    device = os.open('${VMTOOLS_PORTS}.' + service, os.O_RDWR)
    listener = socket.socket(socket.AF_VSOCK)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen(8)
    unsent = b''
    while True:
        guest, (_, own_port) = listener.accept()
        open_now[port] = guest
        with open('${CONNECTIONS}', 'a') as log:
            log.write('%d %d\\n' % (port, own_port))
        try:
            while True:
                guest.sendall(unsent)
                unsent = b''
                ready, _, _ = select.select([guest, device], [], [])
                if guest in ready:
                    data = guest.recv(65536)
                    if not data:
                        break
                    while data:
                        data = data[os.write(device, data):]
                elif device in ready:
                    unsent = os.read(device, 65536)
        except OSError:
            pass
        guest.close()

def drop(*_):
    for guest in open_now.values():
        try:
            guest.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

signal.signal(signal.SIGUSR1, drop)
for port, service in (976, 'rpci'), (975, 'tclo'):
    threading.Thread(target=serve, args=(port, service), daemon=True).start()
while True:
    signal.pause()
`;

/** Leaves the guest running, its agent with the test transport. */
export function vmtoolsVsocketSuite(guest: () => Guest): void {
  describe.runIf(agentName === 'chr-agent')('real vsockets', { timeout: 200_000 }, () => {
    let host: VmtoolsHost;

    const startBridge = () =>
      shell(
        guest(),
        `: > ${CONNECTIONS}; (setsid python3 ${BRIDGE} > ${BRIDGE}.log 2>&1 & echo $! > ${BRIDGE}.pid);
         n=0; while ! grep -q . ${CONNECTIONS} && [ $n -lt 300 ]; do sleep 0.1; n=$((n + 1)); done;
         cat ${BRIDGE}.log; test $n -lt 300`,
        LIMIT.timeoutMs,
      );
    const endBridge = () =>
      shell(
        guest(),
        `p=$(cat ${BRIDGE}.pid) && kill $p && while [ -e /proc/$p/exe ]; do sleep 0.1; done`,
        LIMIT.timeoutMs,
      );
    /** The guest's ports of the connections to a service so far. */
    const connections = async (service: number) => {
      const lines = (await shell(guest(), `cat ${CONNECTIONS}`)).split('\n').map((line) => line.split(' '));
      return lines.filter(([port]) => Number(port) === service).map(([, own]) => Number(own));
    };
    const session = async () => {
      const from = host.vmx.mark();
      expect((await host.vmx.command('reset', LIMIT)).text).toBe('ATR toolbox');
      await host.vmx.command('Capabilities_Register', LIMIT);
      await host.vmx.waitForRpc(/^SetGuestInfo {2}10 /, { from, ...LIMIT });
    };

    beforeAll(async () => {
      if ((await guest().state()) !== 'running') await guest().boot('fast');
      host = await startVmtoolsHost(guest().vmtoolsSockets);
      await shell(guest(), 'modprobe vsock_loopback');
      await putFile(guest(), BRIDGE, bridgeProgram);
      await putFile(guest(), '/etc/chr-agent/agent.toml', `${agentConfig()}\n[vmtools]\nenabled = true\n`);
      await putFile(
        guest(),
        STARTER,
        `#!/bin/sh\nexport CHR_AGENT_VMTOOLS_SOCKET=vsock:${LOOPBACK}\nexec /usr/bin/chr-agent run\n`,
        '755',
      );
      await endAgent(guest(), 'TERM');
      await guest().waitForAnswer();
    }, 300_000);

    afterAll(async () => {
      await endBridge().catch(() => undefined);
      await host?.[Symbol.asyncDispose]();
    });

    it('where nobody listens the agent waits for the host, and finds it when it is there', async () => {
      await shell(guest(), `grep -q 'the channel for the commands of the host is lost' ${AGENT_LOG}`);
      await startBridge();
      await session();
      expect(host.vmx.guestInfo.text(1)).toBe('chrguest');
    });

    it('RPCs come from the next low port that is free, commands over any port', async () => {
      expect((await connections(976)).at(-1)).toBe(1022);
      expect((await connections(975)).at(-1)).toBeGreaterThan(1023);
    });

    it('comes back when the host closes the connections', async () => {
      const before = await connections(976);
      await shell(guest(), `kill -USR1 $(cat ${BRIDGE}.pid)`);
      await session();
      const after = await connections(976);
      expect(after.length).toBeGreaterThan(before.length);
      expect(after.at(-1)).toBe(1022);
    });

    it('answers at the same address after the host was away', async () => {
      await endBridge();
      expect(await guest().agent('guest-ping')).toEqual({});
      await startBridge();
      await session();
    });
  });
}
