/** The simulated VMware host at the guest's two test ports, which carry the packets of the vsocket variant (docs/architecture.md). */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createVmx, type Vmx } from '../hosts/vmx/vmx.ts';
import { listenForVsockets } from '../hosts/vmx/vsocket-link.ts';

/** The environment's CHR_AGENT_VMTOOLS_SOCKET in the guest. */
export const VMTOOLS_PORTS = '/dev/virtio-ports/chr-agent.vmtools';
const PORTS = { rpci: 976, tclo: 975 } as const;

export interface VmtoolsHost extends AsyncDisposable {
  readonly vmx: Vmx;
}

/** @param prefix of the sockets that QEMU listens on */
export async function startVmtoolsHost(prefix: string): Promise<VmtoolsHost> {
  const vmx = createVmx();
  const services = await listenForVsockets(vmx, prefix);
  const sockets: Socket[] = [];
  for (const [service, port] of Object.entries(PORTS)) {
    const guest = await connected(`${prefix}.${service}`);
    const host = await connected(`${prefix}.vsock.${port}`);
    // QEMU goes with the guest
    for (const socket of [guest, host]) socket.on('error', () => socket.destroy());
    guest.pipe(host);
    host.pipe(guest);
    sockets.push(guest, host);
  }
  return {
    vmx,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await services[Symbol.asyncDispose]();
    },
  };
}

async function connected(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, 'connect');
  return socket;
}
