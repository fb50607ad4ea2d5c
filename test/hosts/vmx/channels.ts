/**
 * GuestMsg channels as the host keeps them: the steps of backdoor command 30 and of the high-bandwidth calls; vmware.md section 2.
 * What the messages mean is the business of the service behind a channel.
 */
import {
  type ChannelFault,
  createFaults,
  PROTOCOLS,
  type Protocol,
  STEPS,
  type Step,
} from './channel-steps.ts';
import { halves, highHalf, lowHalf, type Registers, STATUS } from './registers.ts';

export type { Protocol, Step };

const COOKIE_WISH = 0x80000000;

export interface ChannelCaller {
  readonly id: number;
  readonly protocol: Protocol;
  /** The thread has raised its I/O privilege level. */
  readonly privileged: boolean;
}

/** What answers the messages of one protocol. */
export interface ChannelService {
  opened(id: number): void;
  /** A whole message has come from the guest. */
  sent(message: Buffer, caller: ChannelCaller): void;
  /** The next message for the guest; offered again until it is taken or refused. */
  offer(id: number): Buffer | undefined;
  taken(id: number): void;
  refused(id: number): void;
  closed(id: number): void;
}

export interface ChannelOptions {
  readonly maxChannels: number;
  /** Without cookies an OPEN that wishes one fails. */
  readonly cookies: boolean;
  /** Which messages are offered the high-bandwidth way. */
  readonly highBandwidth: (sizeBytes: number) => boolean;
  readonly random: () => number;
  readonly onStep: (step: Step, protocol: Protocol | undefined) => void;
}

interface Channel {
  readonly id: number;
  readonly protocol: Protocol;
  readonly cookie: { readonly high: number; readonly low: number } | null;
  dead: boolean;
  sending: { readonly bytes: Buffer; received: number; readonly highBandwidth: boolean } | null;
  receiving: { readonly bytes: Buffer; delivered: number; readonly highBandwidth: boolean } | null;
}

/** Cookie halves as a call carries them. */
interface Presented {
  readonly high: number;
  readonly low: number;
}

export interface Channels {
  message(call: Registers, privileged: boolean): Registers;
  sendBlock(call: Registers, bytes: Buffer, privileged: boolean): Registers;
  receiveBlock(call: Registers): { readonly registers: Registers; readonly bytes: Buffer };
  inject(fault: ChannelFault): void;
  /** Channels that the guest holds at present. */
  open(): readonly { readonly id: number; readonly protocol: Protocol }[];
  /** Forgets the channels, as after a snapshot revert; the guest is not told. */
  loseAll(protocol?: Protocol): void;
}

export function createChannels(
  services: Readonly<Record<Protocol, ChannelService>>,
  options: ChannelOptions,
): Channels {
  const channels = new Map<number, Channel>();
  const faults = createFaults();

  const owned = (id: number, presented: Presented): Channel | undefined => {
    const channel = channels.get(id);
    const cookie = channel?.cookie ?? null;
    if (cookie !== null && (cookie.high !== presented.high || cookie.low !== presented.low)) return undefined;
    return channel;
  };

  const find = (id: number, presented: Presented): Channel | undefined => {
    const channel = owned(id, presented);
    return channel?.dead === true ? undefined : channel;
  };

  /** The status of an injected fault, after its consequences. */
  const failing = (step: Step, channel: Channel): number | null => {
    const status = faults.at(step, channel.protocol);
    if (status === null) return null;
    channel.sending = null;
    channel.receiving = null;
    if ((status & STATUS.CPT) === 0) channel.dead = true;
    return status;
  };

  const deliver = (channel: Channel, bytes: Buffer, privileged: boolean): void => {
    channel.sending = null;
    services[channel.protocol].sent(bytes, { id: channel.id, protocol: channel.protocol, privileged });
  };

  const open = (call: Registers): Registers => {
    const protocol = PROTOCOLS.get((call.bx & ~COOKIE_WISH) >>> 0);
    options.onStep('OPEN', protocol);
    const failed = { ...call, cx: halves(0, call.cx) };
    if (protocol === undefined || channels.size >= options.maxChannels) return failed;
    const wished = (call.bx & COOKIE_WISH) !== 0;
    if (wished && !options.cookies) return failed;
    const status = faults.at('OPEN', protocol);
    if (status !== null) return { ...call, cx: halves(status, call.cx) };
    let id = 0;
    while (channels.has(id)) id += 1;
    const half = () => Math.floor(options.random() * 0x100000000);
    const cookie = wished ? { high: half(), low: half() } : null;
    channels.set(id, { id, protocol, cookie, dead: false, sending: null, receiving: null });
    services[protocol].opened(id);
    return {
      ...call,
      cx: halves(STATUS.SUCCESS, call.cx),
      dx: halves(id, call.dx),
      ...(cookie === null ? {} : { si: cookie.high, di: cookie.low }),
    };
  };

  const close = (id: number, presented: Presented): number => {
    // a channel of before a revert may have had the number that another has now
    const channel = owned(id, presented);
    if (channel === undefined) return 0;
    options.onStep('CLOSE', channel.protocol);
    channels.delete(id);
    services[channel.protocol].closed(id);
    return STATUS.SUCCESS;
  };

  const sendSize = (channel: Channel, size: number, privileged: boolean): number => {
    const highBandwidth = size > 0 && options.highBandwidth(size);
    if (size === 0) deliver(channel, Buffer.alloc(0), privileged);
    else channel.sending = { bytes: Buffer.alloc(size), received: 0, highBandwidth };
    return STATUS.SUCCESS | (highBandwidth ? STATUS.HB : 0);
  };

  const sendPayload = (channel: Channel, word: number, privileged: boolean): number => {
    const { sending } = channel;
    if (sending === null || sending.highBandwidth) return 0;
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(word);
    sending.received += bytes.copy(sending.bytes, sending.received);
    if (sending.received === sending.bytes.length) deliver(channel, sending.bytes, privileged);
    return STATUS.SUCCESS;
  };

  const receiveSize = (channel: Channel, call: Registers): Registers => {
    const bytes = services[channel.protocol].offer(channel.id);
    if (bytes === undefined) return { ...call, cx: halves(STATUS.SUCCESS, call.cx) };
    const highBandwidth = bytes.length > 0 && options.highBandwidth(bytes.length);
    channel.receiving = { bytes, delivered: 0, highBandwidth };
    const status = STATUS.SUCCESS | STATUS.DORECV | (highBandwidth ? STATUS.HB : 0);
    return { ...call, bx: bytes.length, cx: halves(status, call.cx), dx: halves(1, call.dx) };
  };

  const refuse = (channel: Channel): number => {
    channel.receiving = null;
    services[channel.protocol].refused(channel.id);
    return STATUS.SUCCESS;
  };

  const receivePayload = (channel: Channel, call: Registers): Registers => {
    const { receiving } = channel;
    if (receiving === null || receiving.highBandwidth) return { ...call, cx: halves(0, call.cx) };
    if (call.bx !== 1) return { ...call, cx: halves(refuse(channel), call.cx) };
    const word = Buffer.alloc(4);
    receiving.bytes.copy(word, 0, receiving.delivered);
    receiving.delivered += 4;
    return {
      ...call,
      bx: word.readUInt32LE(),
      cx: halves(STATUS.SUCCESS, call.cx),
      dx: halves(2, call.dx),
    };
  };

  const receiveStatus = (channel: Channel, wentWell: number): number => {
    const { receiving } = channel;
    if (receiving === null) return 0;
    if (wentWell !== 1) return refuse(channel);
    if (receiving.delivered < receiving.bytes.length) return 0;
    channel.receiving = null;
    services[channel.protocol].taken(channel.id);
    return STATUS.SUCCESS;
  };

  const message = (call: Registers, privileged: boolean): Registers => {
    const step = STEPS[highHalf(call.cx)];
    const withStatus = (status: number): Registers => ({ ...call, cx: halves(status, call.cx) });
    if (step === undefined) return withStatus(0);
    if (step === 'OPEN') return open(call);
    const id = highHalf(call.dx);
    const presented = { high: call.si, low: call.di };
    if (step === 'CLOSE') return withStatus(close(id, presented));
    const channel = find(id, presented);
    options.onStep(step, channel?.protocol);
    if (channel === undefined) return withStatus(0);
    const failed = failing(step, channel);
    if (failed !== null) return withStatus(failed);
    switch (step) {
      case 'SENDSIZE':
        return withStatus(sendSize(channel, call.bx, privileged));
      case 'SENDPAYLOAD':
        return withStatus(sendPayload(channel, call.bx, privileged));
      case 'RECVSIZE':
        return receiveSize(channel, call);
      case 'RECVPAYLOAD':
        return receivePayload(channel, call);
      case 'RECVSTATUS':
        return withStatus(receiveStatus(channel, call.bx));
      default:
        return withStatus(0);
    }
  };

  /** The channel of a high-bandwidth call, or the status with which it fails. */
  const blockChannel = (step: Step, call: Registers, presented: Presented): Channel | number => {
    const channel = find(highHalf(call.dx), presented);
    options.onStep(step, channel?.protocol);
    if (channel === undefined || lowHalf(call.bx) !== 0 || highHalf(call.bx) !== STATUS.SUCCESS) return 0;
    return failing(step, channel) ?? channel;
  };

  return {
    message,
    sendBlock(call, bytes, privileged) {
      // the string instruction leaves its counter at 0 and its address behind the block
      const done = (status: number): Registers => ({
        ...call,
        bx: halves(status, call.bx),
        cx: 0,
        si: call.si + bytes.length,
      });
      const channel = blockChannel('OUTSB', call, { high: call.bp, low: call.di });
      if (typeof channel === 'number') return done(channel);
      const { sending } = channel;
      if (!sending?.highBandwidth || bytes.length !== sending.bytes.length) return done(0);
      deliver(channel, bytes, privileged);
      return done(STATUS.SUCCESS);
    },
    receiveBlock(call) {
      const done = (status: number, bytes: Buffer) => ({
        registers: { ...call, bx: halves(status, call.bx), cx: 0, di: call.di + call.cx },
        bytes,
      });
      const channel = blockChannel('INSB', call, { high: call.si, low: call.bp });
      if (typeof channel === 'number') return done(channel, Buffer.alloc(0));
      const { receiving } = channel;
      if (!receiving?.highBandwidth || call.cx !== receiving.bytes.length) return done(0, Buffer.alloc(0));
      receiving.delivered = receiving.bytes.length;
      return done(STATUS.SUCCESS, receiving.bytes);
    },
    inject: faults.inject,
    open: () => [...channels.values()].map(({ id, protocol }) => ({ id, protocol })),
    loseAll(protocol) {
      for (const channel of [...channels.values()]) {
        if (protocol !== undefined && channel.protocol !== protocol) continue;
        channels.delete(channel.id);
        services[channel.protocol].closed(channel.id);
      }
    },
  };
}
