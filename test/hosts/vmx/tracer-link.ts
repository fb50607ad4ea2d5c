/** The front for processes under the tracer: its wire format over a unix socket (tracer/link.c describes it). */
import { createServer, type Socket } from 'node:net';
import { executed, systemEvent } from './guest-system.ts';
import type { Registers } from './registers.ts';
import type { Vmx } from './vmx.ts';

const KIND = { LB: 1, HB_OUT: 2, HB_IN: 3, CPUID: 4, EXECUTED: 5, ENDED: 6, SYSTEM_CALL: 7 } as const;
const PRIVILEGED = 0x400;
const NOT_HANDLED = 1;
const REGISTERS = ['ax', 'bx', 'cx', 'dx', 'si', 'di', 'bp'] as const;
const SI = REGISTERS.indexOf('si');
const REGISTER_BYTES = REGISTERS.length * 8;
/** Of FITHAW on what is not frozen. */
const EINVAL = 22;
const REQUEST_HEADER_BYTES = 16;
const RESPONSE_HEADER_BYTES = 8;

interface Request {
  readonly kind: number;
  readonly privileged: boolean;
  readonly pid: number;
  readonly registers: readonly bigint[];
  readonly data: Buffer;
}

interface Response {
  readonly handled: boolean;
  readonly registers: readonly bigint[];
  readonly data?: Buffer;
}

export interface TracerLink extends AsyncDisposable {
  readonly socketPath: string;
  /** Backdoor calls so far. */
  readonly calls: number;
}

const low32 = (value: bigint | undefined): number => Number(BigInt.asUintN(32, value ?? 0n));

/** In a high-bandwidth call the address keeps its 64 bits (a user address fits a double exactly). */
function narrow(registers: readonly bigint[], address: 'si' | 'di' | null): Registers {
  const [ax, bx, cx, dx, si, di, bp] = registers;
  return {
    ax: low32(ax),
    bx: low32(bx),
    cx: low32(cx),
    dx: low32(dx),
    si: address === 'si' ? Number(si) : low32(si),
    di: address === 'di' ? Number(di) : low32(di),
    bp: low32(bp),
  };
}

/** Registers that the host left alone keep all their bits: EBP of a low-bandwidth call is the program's own. */
const widen = (before: readonly bigint[], seen: Registers, after: Registers): bigint[] =>
  REGISTERS.map((name, i) => (seen[name] === after[name] ? (before[i] ?? 0n) : BigInt(after[name])));

function handle(vmx: Vmx, { kind, privileged, pid, registers, data }: Request): Response {
  const unhandled: Response = { handled: false, registers };
  switch (kind) {
    case KIND.LB: {
      const seen = narrow(registers, null);
      const after = vmx.backdoor.lowBandwidth(seen, privileged);
      return after === null ? unhandled : { handled: true, registers: widen(registers, seen, after) };
    }
    case KIND.HB_OUT: {
      const seen = narrow(registers, 'si');
      const after = vmx.backdoor.highBandwidthOut(seen, data, privileged);
      return after === null ? unhandled : { handled: true, registers: widen(registers, seen, after) };
    }
    case KIND.HB_IN: {
      const seen = narrow(registers, 'di');
      const after = vmx.backdoor.highBandwidthIn(seen);
      if (after === null) return unhandled;
      return { handled: true, registers: widen(registers, seen, after.registers), data: after.bytes };
    }
    case KIND.CPUID: {
      const [leaf, , , eax, ebx, ecx, edx] = registers.map(low32);
      const answer = vmx.backdoor.cpuid(leaf ?? 0, {
        eax: eax ?? 0,
        ebx: ebx ?? 0,
        ecx: ecx ?? 0,
        edx: edx ?? 0,
      });
      const values = [answer.eax, answer.ebx, answer.ecx, answer.edx].map((value) => BigInt(value >>> 0));
      return { handled: true, registers: [...values, 0n, 0n, 0n] };
    }
    case KIND.EXECUTED:
      vmx.system.tell(executed(pid, data));
      return unhandled;
    case KIND.ENDED:
      vmx.system.tell({ kind: 'ended', pid, waitStatus: low32(registers[0]) });
      return unhandled;
    case KIND.SYSTEM_CALL: {
      const [number = 0n, a = 0n, b = 0n, c = 0n, result = 0n] = registers;
      const event = systemEvent(pid, { number: Number(number), args: [a, b, c], result, data });
      if (event === null) return unhandled;
      if (event.kind !== 'freeze' && event.kind !== 'thaw') {
        vmx.system.tell(event);
        return unhandled;
      }
      const answered = { ...event, result: freezing(vmx, event) };
      vmx.system.tell(answered);
      return { handled: true, registers: registers.with(SI, BigInt(answered.result)) };
    }
    default:
      return unhandled;
  }
}

/** As the kernel has it, and as the test wants it. @returns 0 or a negative errno */
function freezing(
  { system }: Vmx,
  { kind, path, result }: { kind: string; path: string; result: number },
): number {
  if (kind === 'thaw') return system.frozen.delete(path) ? 0 : -EINVAL;
  const wanted = system.freezeResults.get(path) ?? result;
  if (wanted === 0) system.frozen.add(path);
  return wanted;
}

function parse(frame: Buffer): Request {
  const kind = frame.readUInt32LE(4);
  return {
    kind: kind & 0xff,
    privileged: (kind & PRIVILEGED) !== 0,
    pid: frame.readUInt32LE(8),
    registers: REGISTERS.map((_, i) => frame.readBigUInt64LE(REQUEST_HEADER_BYTES + i * 8)),
    data: frame.subarray(REQUEST_HEADER_BYTES + REGISTER_BYTES),
  };
}

function format({ handled, registers, data = Buffer.alloc(0) }: Response): Buffer {
  const frame = Buffer.alloc(RESPONSE_HEADER_BYTES + REGISTER_BYTES + data.length);
  frame.writeUInt32LE(frame.length - 4, 0);
  frame.writeUInt32LE(handled ? 0 : NOT_HANDLED, 4);
  for (const [i, value] of registers.entries())
    frame.writeBigUInt64LE(BigInt.asUintN(64, value), RESPONSE_HEADER_BYTES + i * 8);
  data.copy(frame, RESPONSE_HEADER_BYTES + REGISTER_BYTES);
  return frame;
}

/** Serves tracers at `socketPath`; any number of them may be connected. */
export async function listenForTracers(vmx: Vmx, socketPath: string): Promise<TracerLink> {
  const sockets = new Set<Socket>();
  let calls = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    let pending: Buffer = Buffer.alloc(0);
    socket.on('data', (bytes: Buffer) => {
      pending = pending.length === 0 ? bytes : Buffer.concat([pending, bytes]);
      while (pending.length >= 4 && pending.length >= 4 + pending.readUInt32LE(0)) {
        const end = 4 + pending.readUInt32LE(0);
        // a copy: the host keeps messages
        const request = parse(Buffer.from(pending.subarray(0, end)));
        pending = pending.subarray(end);
        if (request.kind <= KIND.HB_IN) calls += 1;
        socket.write(format(handle(vmx, request)));
      }
    });
    socket.on('close', () => sockets.delete(socket));
    // the tracer was killed
    socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, resolve);
  });
  return {
    socketPath,
    get calls() {
      return calls;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
