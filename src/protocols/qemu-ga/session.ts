/**
 * One QEMU guest agent session: requests in, replies out, strictly one after the other (spec qemu-ga.md section 1: no command
 * starts before the previous reply is out). It outlives its channels: half a request from one client is continued by the next.
 */
import type { Log } from '../../log.ts';
import type { NativeAddon } from '../../native/index.ts';
import { monotonicMs } from '../../native/monotonic.ts';
import type { Channel } from '../transport/channel.ts';
import { QapiError } from './errors.ts';
import { Framing, type Message } from './json/framing.ts';
import { READ_BYTES, ReceiveBuffer } from './json/receive-buffer.ts';
import { isObject, type JsonObject, type JsonValue } from './json/value.ts';
import { type ReplyPart, type ReplyValue, toParts } from './json/writer.ts';
import { type Command, type CommandResult, type Registry, SILENT } from './registry.ts';
import { ReplyWriter } from './reply-writer.ts';

/** Memory of a large message is given back when nothing, or little, came for this long. */
const TRIM_AFTER_MS = 1_000;
/** As hosts that ask for the state of their scripts all the time: they must not keep what a large message has left behind. */
const LITTLE_BYTES = 64 * 1024;
/** So many small messages leave some MB of garbage behind too. */
const RELEASE_AFTER_MESSAGES = 1_000;
/** Reads in a row before other events get their turn. */
const READS_PER_TURN = 16;

/** libvirt's limit for one reply (spec section 8). */
const LIBVIRT_LIMIT_BYTES = 10 * 1024 * 1024;

/** A command on its way. */
interface Call {
  readonly name: string;
  readonly frequent: boolean;
  readonly id: JsonValue | undefined;
  readonly beganAtMs: number;
}
const NO_CALL: Call = { name: 'a malformed request', frequent: true, id: undefined, beganAtMs: 0 };

export interface SessionOptions<Context> {
  native: NativeAddon;
  log: Log;
  registry: Registry<Context>;
  context: Context;
  /** Gives back what a large message, or many, have left behind in the process's heaps; called when idle. */
  releaseMemory(): void;
}

export interface Session {
  /** Serves a channel until it ends. One at a time. */
  serve(channel: Channel): Promise<void>;
}

export function createSession<Context>(options: SessionOptions<Context>): Session {
  const { native, log, registry, context, releaseMemory } = options;
  const buffer = new ReceiveBuffer(native);
  const framing = new Framing(buffer, native);
  const writer = new ReplyWriter(native);
  let channel: Channel | undefined;
  let onEnd: (() => void) | undefined;
  /** A command or a write is under way: nothing is read meanwhile. */
  let isBusy = false;
  let trimTimer: NodeJS.Timeout | undefined;
  let lastActivityMs = 0;
  /** Since the timer was last due. */
  let receivedBytes = 0;
  /** Since memory was released. */
  let messageCount = 0;

  return {
    serve(next) {
      return new Promise((resolve) => {
        channel = next;
        onEnd = resolve;
        writer.attach(next);
        next.listen({ readable, writable: () => writer.writable() });
        pump();
      });
    },
  };

  function readable(): void {
    if (!isBusy) pump();
    // what waits in a socket would be reported again and again; an edge comes only once
    else if (channel?.isEdgeTriggered === false && !writer.isWaiting) channel.want(false, false);
  }

  /** Answers what has been received, reads more, and so on until there is nothing, or something has to be waited for. */
  function pump(): void {
    let reads = 0;
    let mayHaveMore = true;
    while (!isBusy && channel !== undefined) {
      const message = framing.next();
      if (message !== undefined) {
        answer(message);
      } else if (!writer.flush()) {
        waitFor(writer.drained());
      } else if (!mayHaveMore) {
        return;
      } else if (reads === READS_PER_TURN) {
        waitFor(new Promise((resolve) => setImmediate(resolve)));
      } else {
        reads += 1;
        const count = receive(channel);
        if (count <= 0) return;
        // a read that was not filled is the last one for now, unless readiness is reported only once
        mayHaveMore = channel.isEdgeTriggered || count === READ_BYTES;
      }
    }
  }

  function receive(from: Channel): number {
    buffer.makeRoom();
    const count = from.read(buffer.bytes, buffer.end, buffer.end + READ_BYTES);
    if (count > 0) {
      buffer.received(count);
      receivedBytes += count;
      noteActivity();
    } else if (count < 0) {
      end();
    }
    return count;
  }

  function waitFor(work: Promise<void>): void {
    isBusy = true;
    work
      .catch((error: unknown) => log.error(`qemu-ga: a reply could not be sent: ${String(error)}`))
      .finally(() => {
        isBusy = false;
        noteActivity();
        channel?.want(true, false);
        pump();
      });
  }

  function end(): void {
    const resolve = onEnd;
    channel = undefined;
    onEnd = undefined;
    writer.attach(undefined);
    resolve?.();
  }

  function answer(message: Message): void {
    messageCount += 1;
    if (message.kind === 'error') {
      reply(errorReply(new QapiError(message.text), undefined));
      return;
    }
    const id = isObject(message.value) ? message.value.get('id') : undefined;
    try {
      const { command, args } = registry.resolve(message.value);
      const call: Call = { name: command.name, frequent: command.frequent, id, beganAtMs: monotonicMs() };
      perform(command, args, call);
    } catch (error) {
      log.debug(`qemu-ga: request refused: ${error instanceof Error ? error.message : String(error)}`);
      reply(failureReply(error, id));
    }
  }

  function perform(command: Command<Context>, args: JsonObject, call: Call): void {
    const succeeded = (result: CommandResult): ReplyPart[] => {
      if (call.frequent) log.debug(`qemu-ga: ${call.name}: ok`);
      else audit(call, 'ok');
      return successReply(command, result, call.id);
    };
    const failed = (error: unknown): ReplyPart[] => {
      audit(call, `error: ${error instanceof Error ? error.message : String(error)}`);
      return failureReply(error, call.id);
    };
    let parts: ReplyPart[];
    try {
      const result = command.invoke(args, context);
      if (result instanceof Promise) {
        writer.flush();
        waitFor(result.then(succeeded, failed).then((later) => sendReply(later, call)));
        return;
      }
      parts = succeeded(result);
    } catch (error) {
      parts = failed(error);
    }
    reply(parts, call);
  }

  /** One line a command: what, how it ended, how long it took. Arguments may be secrets and are never logged. */
  function audit({ name, beganAtMs }: Call, outcome: string): void {
    log.info(`qemu-ga: ${name}: ${outcome}, ${(monotonicMs() - beganAtMs).toFixed(1)} ms`);
  }

  async function sendReply(parts: readonly ReplyPart[], call: Call): Promise<void> {
    let sentBytes: number;
    try {
      sentBytes = await writer.send(parts);
    } catch (error) {
      // the data could not be read, and nothing has been sent
      sentBytes = await writer.send(failureReply(error, call.id));
    }
    framing.release();
    if (sentBytes > LIBVIRT_LIMIT_BYTES) {
      log.warning(
        `qemu-ga: the reply to ${call.name} has ${sentBytes} bytes: libvirt breaks the channel above 10 MiB; ` +
          'read files in pieces of at most 7 MiB, and let scripts with more output write it to a file',
      );
    }
  }

  /** Small replies are collected and go out together when the input received so far is answered. */
  function reply(parts: readonly ReplyPart[], call?: Call): void {
    const [text] = parts;
    const isSmall = parts.length === 1 && typeof text === 'string' && writer.append(text);
    if (!isSmall) {
      waitFor(sendReply(parts, call ?? NO_CALL));
      return;
    }
    framing.release();
    if (writer.isFull && !writer.flush()) waitFor(writer.drained());
  }

  function failureReply(error: unknown, id: JsonValue | undefined): ReplyPart[] {
    if (error instanceof QapiError) return errorReply(error, id);
    log.error(
      `qemu-ga: internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
    return errorReply(new QapiError("internal error, see the agent's log"), id);
  }

  /** A timer runs only while there is something to give back, so that an idle agent sleeps. */
  function noteActivity(): void {
    lastActivityMs = monotonicMs();
    if (trimTimer === undefined) trimTimer = setTimeout(trimWhenIdle, TRIM_AFTER_MS).unref();
  }

  function trimWhenIdle(): void {
    trimTimer = undefined;
    const isIdle = monotonicMs() - lastActivityMs >= TRIM_AFTER_MS - 1;
    // what keeps it busy arms the timer again when it ends; until then (a host that is away for days) it would only wake up
    if (isBusy) return;
    const hadLittle = isIdle || receivedBytes < LITTLE_BYTES;
    receivedBytes = 0;
    if (!isIdle) trimTimer = setTimeout(trimWhenIdle, TRIM_AFTER_MS).unref();
    const hadReceived = hadLittle && buffer.trim();
    const hadSent = isIdle && writer.trim();
    const hadMany = isIdle && messageCount >= RELEASE_AFTER_MESSAGES;
    if (!hadReceived && !hadSent && !hadMany) return;
    messageCount = 0;
    releaseMemory();
  }
}

function successReply<Context>(
  command: Command<Context>,
  result: CommandResult,
  id: JsonValue | undefined,
): ReplyPart[] {
  if (result === SILENT) return [''];
  return line({ return: result === undefined ? {} : result, id }, command.delimited ? '\xff' : '');
}

function errorReply(error: QapiError, id: JsonValue | undefined): ReplyPart[] {
  return line({ error: { class: error.errorClass, desc: error.message }, id });
}

function line(value: ReplyValue, prefix = ''): ReplyPart[] {
  const parts = toParts(value);
  const first = parts[0];
  if (typeof first === 'string' && prefix !== '') parts[0] = prefix + first;
  const last = parts.length - 1;
  parts[last] = `${String(parts[last])}\n`;
  return parts;
}
