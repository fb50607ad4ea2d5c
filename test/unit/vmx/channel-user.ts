/** A guest's half of a channel in its plainest form, for the simulator's own tests (vmware.md section 2). */
import { inProcessBackdoor } from '../../hosts/vmx/in-process.ts';
import {
  COMMAND,
  halves,
  highHalf,
  MAGIC,
  PORT_HIGH,
  PORT_LOW,
  type Registers,
  STATUS,
} from '../../hosts/vmx/registers.ts';
import type { Vmx } from '../../hosts/vmx/vmx.ts';

export const PROTOCOL = { RPCI: 0x49435052, TCLO: 0x4f4c4354 } as const;
export const STEP = {
  OPEN: 0,
  SENDSIZE: 1,
  SENDPAYLOAD: 2,
  RECVSIZE: 3,
  RECVPAYLOAD: 4,
  RECVSTATUS: 5,
  CLOSE: 6,
} as const;

export const EMPTY: Registers = { ax: MAGIC, bx: 0, cx: 0, dx: PORT_LOW, si: 0, di: 0, bp: 0 };

export interface ChannelUser {
  readonly opened: Registers;
  step(step: number, bx?: number): { readonly status: number; readonly registers: Registers };
  sendBlock(bytes: Buffer): number;
  receiveBlock(sizeBytes: number): { readonly status: number; readonly bytes: Buffer };
  /** The whole message by the way that the host offers; the first status without SUCCESS, or null. */
  send(bytes: Buffer): number | null;
  /** undefined: nothing there. */
  receive(): Buffer | undefined;
}

export function openChannel(
  vmx: Vmx,
  protocol: number,
  { cookie = true, privileged = false } = {},
): ChannelUser {
  const backdoor = inProcessBackdoor(vmx, { privileged });
  const call = (step: number, bx: number, from: Partial<Registers>) =>
    backdoor.lowBandwidth({ ...EMPTY, bx: bx >>> 0, cx: halves(step, COMMAND.MESSAGE), ...from });
  const opened = call(STEP.OPEN, cookie ? protocol | 0x80000000 : protocol, {});
  const channel = highHalf(opened.dx);
  const { si: high, di: low } = opened;
  const highBandwidth = { ...EMPTY, bx: 0x10000, dx: halves(channel, PORT_HIGH) };
  const user: ChannelUser = {
    opened,
    step(step, bx = 0) {
      const registers = call(step, bx, { dx: halves(channel, PORT_LOW), si: high, di: low });
      return { status: highHalf(registers.cx), registers };
    },
    sendBlock(bytes) {
      const registers = { ...highBandwidth, cx: bytes.length, si: 0x7f0000001000, di: low, bp: high };
      return highHalf(backdoor.highBandwidthOut(registers, bytes).bx);
    },
    receiveBlock(sizeBytes) {
      const call = { ...highBandwidth, cx: sizeBytes, di: 0x7f0000001000, si: high, bp: low };
      const { registers, bytes } = backdoor.highBandwidthIn(call);
      return { status: highHalf(registers.bx), bytes };
    },
    send(bytes) {
      const { status } = user.step(STEP.SENDSIZE, bytes.length);
      const failed = (code: number) => (code & STATUS.SUCCESS) === 0;
      if (failed(status)) return status;
      if (status & STATUS.HB) {
        const code = user.sendBlock(bytes);
        return failed(code) ? code : null;
      }
      const padded = Buffer.concat([bytes, Buffer.alloc(3)]);
      for (let at = 0; at < bytes.length; at += 4) {
        const code = user.step(STEP.SENDPAYLOAD, padded.readUInt32LE(at)).status;
        if (failed(code)) return code;
      }
      return null;
    },
    receive() {
      const { status, registers } = user.step(STEP.RECVSIZE);
      if ((status & STATUS.DORECV) === 0) return undefined;
      const size = registers.bx;
      const bytes = Buffer.alloc(size + 3);
      if (status & STATUS.HB) user.receiveBlock(size).bytes.copy(bytes);
      else
        for (let at = 0; at < size; at += 4)
          bytes.writeUInt32LE(user.step(STEP.RECVPAYLOAD, 1).registers.bx, at);
      user.step(STEP.RECVSTATUS, 1);
      return bytes.subarray(0, size);
    },
  };
  return user;
}
