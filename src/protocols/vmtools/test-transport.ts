/**
 * For tests only: a host where there is no VMware. `CHR_AGENT_VMTOOLS_SOCKET=PREFIX` leads to `PREFIX.rpci` and `PREFIX.tclo`, unix
 * sockets or virtio ports, which carry the packets of the vsocket variant (spec vmware.md section 13). `vsock:CID` leads to real vsockets
 * there: the kernel's loopback has no hypervisor (CID 0).
 */
import { statSync } from 'node:fs';
import { connect } from 'node:net';
import type { NativeAddon } from '../../native/index.ts';
import { createFdChannel } from '../transport/fd-channel.ts';
import { channelDuplex } from '../transport/fd-duplex.ts';
import type { Backdoor } from './backdoor.ts';
import { ChannelLost } from './channel-errors.ts';
import type { VsocketConnector } from './host-link.ts';
import { vsocketConnector } from './vsocket-connection.ts';

/** @param prefix an absolute path, or `vsock:CID` */
export function testConnector(native: NativeAddon, prefix: string): VsocketConnector {
  const cid = /^vsock:(\d+)$/.exec(prefix)?.[1];
  if (cid !== undefined) return vsocketConnector(native, Number(cid));
  return async (service) => {
    const path = `${prefix}.${service}`;
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isSocket()) {
      return new Promise((resolve) => {
        const socket = connect(path, () => resolve(socket));
        socket.once('error', () => resolve(null));
      });
    }
    const fd = stat?.isCharacterDevice() ? native.openDevice(path) : -1;
    return fd < 0 ? null : channelDuplex(createFdChannel(native, fd, 'device'));
  };
}

/** The backdoor of a machine that has none. */
export function absentBackdoor(): Backdoor {
  const fail = (): never => {
    throw new ChannelLost('open', 'there is no backdoor');
  };
  const backdoor: Backdoor = {
    version: 0,
    product: 0,
    instruction: 0,
    call: fail,
    write: fail,
    read: fail,
    get privileged() {
      return backdoor;
    },
  };
  return backdoor;
}
